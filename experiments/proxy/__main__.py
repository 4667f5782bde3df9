"""`python -m experiments.proxy LA_FOLDER LIBRISPEECH_FOLDER OUTPUT [--workers N]` builds the vocoded proxy of LA."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nas.data.corpus_recipe import build_from_recipe
from nas.errors import NasError

RECIPE = Path(__file__).with_name("la_proxy.yaml")


def build(la: str | Path, librispeech: str | Path, output: str | Path, workers: int | None = None) -> Path:
    """Build the proxy from the two folders of human speech; returns the path of its manifest."""
    return build_from_recipe(RECIPE, [la, librispeech], output, workers)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.proxy", description="Build the vocoded proxy of LA.")
    parser.add_argument("la", help="folder with bona fide speech of ASVspoof 2019 LA and its protocol")
    parser.add_argument("librispeech", help="folder with LibriSpeech utterances (names speaker-chapter-index)")
    parser.add_argument("output", help="folder of the corpus; a build that was cut off goes on there")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    arguments = parser.parse_args()
    try:
        print(build(arguments.la, arguments.librispeech, arguments.output, arguments.workers))
    except NasError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
