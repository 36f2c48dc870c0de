"""The suite of the array API standard, data-apis/array-api-tests, against `heliostat.array_api`.

HELIOSTAT_ARRAY_API_TESTS names a checkout of it with its submodule `array-api` and with what its requirements.txt
asks for; CONTRIBUTING.md gives the commands. What fails on purpose stands in `array_api_xfails.txt`, with reasons."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import heliostat
from heliostat import array_api

SUITE = os.environ.get("HELIOSTAT_ARRAY_API_TESTS", "")
EXPECTED_FAILURES = Path(__file__).with_name("array_api_xfails.txt")
EXAMPLES = 20  # of each test; more find more: run the command of CONTRIBUTING.md


def lines() -> list[str]:
    """What is expected to fail: names of the suite's tests."""
    found = EXPECTED_FAILURES.read_text(encoding="utf-8").splitlines()
    return [line for line in found if line.strip() and not line.startswith("#")]


@pytest.mark.skipif(not SUITE, reason="HELIOSTAT_ARRAY_API_TESTS names no checkout of data-apis/array-api-tests")
@pytest.mark.timeout(1800)
def test_the_suite_of_the_standard() -> None:
    """One process, so that a test that ends it is seen too. Its counts are printed with `pytest -s`."""
    assert importlib.util.find_spec("ndindex"), "pip install -r requirements.txt of the suite"
    command = [
        sys.executable, "-m", "pytest", "array_api_tests", "-q", "-rf", "-p", "no:cacheprovider", "--disable-deadline",
        "--max-examples", str(EXAMPLES), "--xfails-file", str(EXPECTED_FAILURES),
    ]  # fmt: skip
    paths = [str(Path(heliostat.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(paths), "ARRAY_API_TESTS_MODULE": array_api.__name__,
    }  # fmt: skip
    done = subprocess.run(command, cwd=SUITE, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout[-200:])
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2000:]
    assert "match any collected tests" not in done.stdout, done.stdout[-5000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout[-2000:]
    assert int(passed[1]) > 1000  # all of it was collected


def test_expected_failures_are_those_of_operators_and_of_one_capsule() -> None:
    """Nothing else hides there: a shorter line takes a whole file along."""
    operators = re.compile(
        r"array_api_tests/test_operators_and_elementwise_functions\.py::test_[a-z_]+"
        r"\[__(add|sub|mul|truediv|floordiv|mod|pow|and|or|xor|lshift|rshift)__\(x1, x2\)\]"
    )
    others = [line for line in lines() if not operators.fullmatch(line)]
    assert others == ["array_api_tests/test_dlpack.py::test_dunder_dlpack"]
    assert len(set(lines())) == len(lines()) == 13
