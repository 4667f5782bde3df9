"""`nas VERB`: one small file a verb, no logic of its own. Bad input ends in one sentence and exit code 2."""

from __future__ import annotations

import io
import logging
import os
import sys

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
from nas.cli.report import report
from nas.cli.resume import resume
from nas.cli.score import score
from nas.cli.search import search
from nas.cli.show import show
from nas.cli.train import train
from nas.cli.tune import tune
from nas.errors import Interrupted, NasError

app = typer.Typer(
    name="nas",
    help="Neural architecture search for speech anti-spoofing: search, look, retrain, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (demo, search, train, finetune, resume, evaluate, score, explain, compare, report, calibrate, show, tune):
    app.command()(verb)
app.add_typer(data_app, name="data")
app.add_typer(corpus_app, name="corpus")
app.add_typer(bench_app, name="bench")


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
