"""`nas VERB`: one small file a verb, no logic of its own. Bad input ends in one sentence and exit code 2."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from nas.cli.bench import app as bench_app
from nas.cli.calibrate import calibrate
from nas.cli.compare import compare
from nas.cli.corpus import app as corpus_app
from nas.cli.data import app as data_app
from nas.cli.demo import demo
from nas.cli.evaluate import evaluate
from nas.cli.explain import explain
from nas.cli.finetune import finetune
from nas.cli.info import info, print_version
from nas.cli.options import with_imports
from nas.cli.recipes import recipes
from nas.cli.report import report
from nas.cli.resume import resume
from nas.cli.score import score
from nas.cli.search import search
from nas.cli.show import show
from nas.cli.train import train
from nas.cli.tune import tune
from nas.errors import Interrupted, NasError

VERBS: dict[Callable[..., None], str] = {
    demo: "Do the whole job on a small synthetic corpus, in minutes",
    search: "Search an architecture",
    train: "Train the network of a genotype, or a hand-made one",
    finetune: "Train on from published weights or a run",
    tune: "Try hyper-parameters",
    resume: "Go on with a run that was stopped",
    evaluate: "Measure a network or a score file: EER, min t-DCF",
    score: "Score audio files",
    calibrate: "Choose the threshold of a deployed system",
    compare: "Hold systems or searches side by side",
    explain: "Draw where a network looks",
    report: "Write a page about a run, or a table of runs",
    show: "Print and draw a genotype",
    recipes: "List the packaged recipes",
    info: "Tell versions, devices and extras",
}
"""The verbs, each with its line in `nas --help`, which fits into 80 columns."""

WITHOUT_IMPORTS = (demo, calibrate, recipes, info)
"""Verbs that meet no part of a user's own."""

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="nas",
    help="Neural architecture search for speech anti-spoofing: search, look, retrain, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP_OPTIONS,
)
for verb, line in VERBS.items():
    app.command(short_help=line)(verb if verb in WITHOUT_IMPORTS else with_imports(verb))
for command in (*data_app.registered_commands, *bench_app.registered_commands):
    assert command.callback is not None
    command.callback = with_imports(command.callback)
app.add_typer(data_app, name="data", short_help="Look at a corpus before anything is trained on it")
app.add_typer(corpus_app, name="corpus", short_help="Make a training corpus from human speech")
app.add_typer(bench_app, name="bench", short_help="Measure how long things take here")


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """Neural architecture search for speech anti-spoofing: search, look, retrain, evaluate."""


def main() -> None:
    """Run the command line."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    if os.environ.get("RANK", "0") != "0":
        sys.stdout = io.StringIO()  # of several processes the first one reports
    try:
        app()
    except NasError as error:
        print(f"nas: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as error:
        print(f"nas: {error}", file=sys.stderr)
        sys.exit(143)
    except KeyboardInterrupt:
        print("nas: interrupted", file=sys.stderr)
        sys.exit(130)
