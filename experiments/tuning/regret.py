"""Strategies against the exhaustively trained tiny space: how far from the best genotype they are after a budget.

    python -m experiments.tuning.regret tests/golden/tiny_space.csv experiments/results/tiny_space_regret.json \
        docs/pictures/tiny_space_regret.png

A strategy sees a genotype's mean dev EER over the table's seeds ("exact"), or that of one training of it, drawn at
random ("noisy", as in a real search). Its regret is the mean dev EER of the genotype that it holds for the best, minus
the lowest mean dev EER of the table; averaged over 10 seeds. Whether a strategy beats random search is tested on 100
seeds (Wilcoxon's signed-rank test of the regret, averaged over the budget, paired by seed).
"""

from __future__ import annotations

import csv
import json
import random
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure
from optuna.storages import InMemoryStorage
from optuna.trial import Trial
from scipy.stats import spearmanr, wilcoxon

from experiments.tuning.exhaust import ENCODING, RECIPE, genotypes
from nas.files import write_text
from nas.recipe_file import load_recipe
from nas.training.engine import seed_everything
from nas.training.train import build_network
from nas.tuning.black_box import proxy_batch
from nas.tuning.proxies import PROXIES
from nas.tuning.samplers import make_sampler
from nas.tuning.study import open_study, run_study
from nas.visual.look import save_figure

Key = tuple[str, ...]
SEEDS = range(100)
SHOWN = 10
"""Seeds that the regrets are averaged over; all of them decide whether random search is beaten."""
BUDGETS = (5, 10, 20, 30, 40)
POPULATION, TOURNAMENT, WARM = 10, 3, 5
STRATEGIES = ("random", "evolution", "tpe", *(f"{name}+evolution" for name in ("synflow", "gradient_norm", "naswot")))


def read_table(path: Path) -> dict[Key, list[float]]:
    """Dev EERs, percent, of every genotype: one for each seed."""
    table: dict[Key, list[float]] = {}
    with open(path, encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            table.setdefault(tuple(row[name] for name in ENCODING.choices), []).append(float(row["dev_eer"]))
    return table


def rank_by_proxy(name: str) -> dict[Key, float]:
    """Every genotype's value by a training-free proxy."""
    recipe = load_recipe(RECIPE)
    batch = proxy_batch(recipe)
    scores = {}
    for parameters in genotypes():
        seed_everything(0)
        network: Any = build_network(recipe, ENCODING.genotype(parameters))
        scores[tuple(parameters.values())] = PROXIES[name](network, *batch)
    return scores


def run_strategy(
    strategy: str, seed: int, table: dict[Key, list[float]], noisy: bool, proxies: dict[str, dict[Key, float]]
) -> list[float]:
    """Regret after every trial of one study."""
    warm, _, name = strategy.rpartition("+")
    chance = random.Random(seed)
    truth = {key: mean(values) for key, values in table.items()}
    lowest = min(truth.values())
    held: list[tuple[float, float]] = []

    def objective(trial: Trial) -> float:
        key = tuple(ENCODING.parameters(ENCODING.suggest(trial)).values())
        seen = chance.choice(table[key]) if noisy else truth[key]
        held.append((seen, truth[key]))
        return seen

    study = open_study(strategy, InMemoryStorage(), make_sampler(name, seed, ENCODING, POPULATION, TOURNAMENT))
    if warm:
        # As nas.tuning.black_box.warm_start: the best-ranked of a random sample, here of a third of the space.
        sample = chance.sample(sorted(table), len(table) // 3)
        for key in sorted(sample, key=lambda key: -proxies[warm][key])[:WARM]:
            study.enqueue_trial(dict(zip(ENCODING.choices, key, strict=True)))
    run_study(study, objective, max(BUDGETS))
    return [min(held[: n + 1])[1] - lowest for n in range(len(held))]


def main(table_file: Path, result_file: Path, picture: Path) -> None:
    """Compare, write the figures and the picture, print the table of the documentation."""
    table = read_table(table_file)
    proxies = {name: rank_by_proxy(name) for name in PROXIES.names()}
    truth = {key: mean(values) for key, values in table.items()}
    seeds = len(next(iter(table.values())))
    result: dict[str, Any] = {
        "genotypes": len(table),
        "trainings_each": seeds,
        "lowest_eer": min(truth.values()),
        "mean_eer": mean(truth.values()),
        "deviation_between_genotypes": stdev(truth.values()),
        "deviation_between_seeds": mean(stdev(values) for values in table.values()),
        "spearman_of_proxies": {
            name: float(spearmanr([-scores[key] for key in table], list(truth.values())).statistic)
            for name, scores in proxies.items()
        },
    }
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    for place, kind in enumerate(("exact", "noisy")):
        curves = {
            name: [run_strategy(name, seed, table, kind == "noisy", proxies) for seed in SEEDS] for name in STRATEGIES
        }
        result[kind] = {
            name: {
                "regret": {str(n): mean(run[n - 1] for run in runs[:SHOWN]) for n in BUDGETS},
                # Area under the curve, paired by seed: one number that says who finds good genotypes sooner.
                "mean_regret_100_seeds": mean(mean(run) for run in runs),
                "p_against_random": None
                if name == "random"
                else float(wilcoxon([mean(r) for r in runs], [mean(r) for r in curves["random"]]).pvalue),
            }
            for name, runs in curves.items()
        }
        axes = figure.add_subplot(1, 2, place + 1)
        for name, runs in curves.items():
            axes.plot(
                range(1, max(BUDGETS) + 1), [mean(run[n] for run in runs) for n in range(max(BUDGETS))], label=name
            )
        axes.set_title(f"{kind} evaluations", fontsize=10)
        axes.set_xlabel("trained networks")
        axes.set_ylabel("regret in dev EER, points")
        axes.set_ylim(bottom=0)
        if place == 0:
            axes.legend(frameon=False, fontsize=8)
        print(f"\n| {kind} | " + " | ".join(map(str, BUDGETS)) + " | mean of 1 to 40, 100 seeds | p |")
        print("|---|" + "--:|" * (len(BUDGETS) + 2))
        for name, found in result[kind].items():
            cells = " | ".join(f"{found['regret'][str(n)]:.2f}" for n in BUDGETS)
            p = "" if found["p_against_random"] is None else f"{found['p_against_random']:.2f}"
            print(f"| {name} | {cells} | {found['mean_regret_100_seeds']:.2f} | {p} |")
    save_figure(figure, picture)
    write_text(result_file, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
