"""Optuna studies: hyper-parameters, black-box architecture search, several objectives (docs/tuning.md)."""
