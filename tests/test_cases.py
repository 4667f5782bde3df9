"""Every case after a public report, run as a user would (case_runner.py has how, cases_*.py what each must say)."""

import os
import shutil

import pytest
from case_runner import CASES, cases, faults, run

pytestmark = [
    pytest.mark.shared,
    pytest.mark.slow,
    pytest.mark.skipif("NAS_CASES" not in os.environ, reason="half an hour of commands; NAS_CASES=1 runs them"),
]


@pytest.mark.parametrize("name", cases())
def test_a_case_does_what_its_reader_expects(name: str):
    if not (CASES / name).is_dir():
        pytest.skip(f"needs ../shared/cases/{name}")
    case = cases()[name]
    missing = [program for program in case.needs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    code, output = run(name, case)
    assert not faults(case, code, output), output[-3000:]
