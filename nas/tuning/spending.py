"""What a search cost: cost.json of its run directory, the same for every strategy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import torch

from nas.errors import NasError
from nas.files import write_text
from nas.metrics.comparison import markdown_table
from nas.text_files import read_json
from nas.training.run import Run


@dataclass(frozen=True)
class Spending:
    """
    Attributes:
        strategy: as in the recipe.
        seconds: spent by all workers together, failed trials included, a supernet that was trained before not.
        networks_trained: networks of genotypes, each trained from scratch.
        supernets_trained: supernets, this search's own or the one that judged one-shot.
        supernet_seconds: what a supernet that was trained before took; None where that is not known or there is none.
        trials: genotypes that were evaluated.
        judge: what gave the EERs: supernet, training or one-shot.
        device: what it ran on.
    """

    strategy: str
    seconds: float
    networks_trained: int = 0
    supernets_trained: int = 0
    supernet_seconds: float | None = None
    trials: int = 0
    device: str = ""
    judge: str = "supernet"

    def write(self, folder: Path) -> Path:
        """Write FOLDER/cost.json."""
        device = (
            torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
        )
        values = asdict(self) | {"seconds": round(self.seconds, 2), "device": self.device or device}
        return write_text(folder / "cost.json", json.dumps(values, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Spending | None:
        """The cost of a search run; None where it was not written.

        Raises:
            NasError: the file is damaged.
        """
        path = folder / "cost.json"
        if not path.exists():
            return None
        values = read_json(path, "account of costs")
        # A number with a fraction may be written without one.
        kinds = {
            name: kind | int if float in (kind, *get_args(kind)) else kind for name, kind in get_type_hints(cls).items()
        }
        if not isinstance(values, dict) or not {"strategy", "seconds"} <= set(values) <= set(kinds):
            raise NasError(f"{path} is damaged: its keys are {', '.join(kinds)}")
        for key, value in values.items():
            if not isinstance(value, kinds[key]) or isinstance(value, bool):
                raise NasError(f"{path} is damaged: {key} cannot be {str(value)[:40]!r}")
        return cls(**values)

    @property
    def total(self) -> float:
        """Seconds in all, with those of a supernet that was trained before."""
        return self.seconds + (self.supernet_seconds or 0.0)


def compare_searches(searches: Mapping[str, Path]) -> str:
    """A Markdown table of searches: what each cost, what it found, and what it had found when the cheapest one ended.

    The EER is that by which the search judged: of the supernet, of short trainings, or one-shot. Only trainings of what
    was found, with one recipe, compare the strategies themselves.

    Args:
        searches: run directories of finished searches, by name.

    Raises:
        NasError: not the run of a search, or one that has not said what it cost.
    """
    spent = {}
    for name, folder in searches.items():
        spending = Spending.read(folder)
        if spending is None:
            raise NasError(f"{folder} has no cost.json; it is not the run of a search, or the search has not ended")
        spent[name] = spending
    least = min(spending.total for spending in spent.values())
    rows = []
    for name, folder in searches.items():
        run, cost = Run.open(folder), spent[name]
        try:
            eers = _eers_by_second(run, cost)
        except (KeyError, ValueError, IndexError) as error:
            raise NasError(f"{folder / 'history.csv'} is damaged: no numbers in the columns of a search") from error
        if not eers:
            raise NasError(f"{folder / 'history.csv'} has no genotype that the search could have taken")
        early = [eer for second, eer in eers if second <= least]
        trained = str(cost.networks_trained), str(cost.supernets_trained)
        found = f"{min(eer for _, eer in eers):.2f}", f"{min(early):.2f}" if early else "-"
        rows.append([name, cost.strategy, cost.judge, f"{cost.total:.0f}", *trained, *found])
    header = ["search", "strategy", "judged by", "seconds", "networks", "supernets", "dev EER %"]
    return markdown_table([*header, f"after {least:.0f} s"], rows)


def _eers_by_second(run: Run, cost: Spending) -> list[tuple[float, float]]:
    """(seconds spent, EER) of every genotype that the search could have taken."""
    if "trial" not in run.history[0]:
        candidates = run.history[run.recipe.search.warmup_epochs :]
        return [(cost.total * int(r["epoch"]) / len(run.history), float(r["dev_eer"])) for r in candidates]
    spent, eers = cost.supernet_seconds or 0.0, []
    for row in run.history:
        spent += float(row["seconds"])
        eers.append((spent, float(row["dev_eer"])))
    return eers
