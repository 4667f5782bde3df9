"""What the cases of cases/data must do (see case_runner.py)."""

from case_runner import Case

CASES: dict[str, Case] = {}
