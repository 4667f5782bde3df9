"""Mutated files: whatever a file holds, reading it ends soon in a valid result or in one sentence.

python -m experiments.mutations --each 1000 --output experiments/results/mutations.json
"""
