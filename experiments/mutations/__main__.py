"""python -m experiments.mutations --each 1000 --output experiments/results/mutations.json"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

from experiments.mutations.families import families
from experiments.mutations.trials import run_trials
from nas.files import write_text
from nas.training.environment import describe_environment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=1000, help="trials of each kind of file")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--kind", action="append", help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    counts = {}
    with tempfile.TemporaryDirectory() as scratch:
        trials = families(Path(scratch))
        for name in asked.kind or trials:
            numbers = range(asked.first, asked.first + asked.each)
            count = run_trials(name, trials[name], numbers, Path(scratch) / "scratch", asked.seed)
            counts[name] = count.as_dict()
            print(name, json.dumps(counts[name], indent=1), flush=True)
    if asked.output is not None:
        environment = describe_environment() | {"command": ["python", "-m", "experiments.mutations", *sys.argv[1:]]}
        result = {"each": asked.each, "seed": asked.seed, "counts": counts, "environment": environment}
        write_text(asked.output, json.dumps(result, indent=1) + "\n")
    sys.exit(any(count["faults"] for count in counts.values()))


if __name__ == "__main__":
    main()
