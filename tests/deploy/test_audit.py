"""The audit of what is installed: a fault that is known fails it, what was not looked up is said."""

import importlib.util
import json
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / ".ci/known_faults.py"


@pytest.fixture(scope="module")
def verdict():
    spec = importlib.util.spec_from_file_location("known_faults", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.verdict


def report(*packages):
    return json.dumps({"dependencies": list(packages), "fixes": []})


FINE = {"name": "numpy", "version": "2.1.0", "vulns": []}
FAULTY = {"name": "jinja2", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1"]}]}
UNKNOWN = {"name": "typer", "skip_reason": "Dependency not found on PyPI and could not be audited: typer (0.15)"}


def test_a_known_fault_fails(verdict):
    assert verdict(report(FINE, FAULTY)) == (1, ["known fault: jinja2 2.0: PYSEC-1", "known faults: 1 in 2 packages"])
    assert verdict(report(FINE)) == (0, ["known faults: 0 in 1 packages"])


def test_what_could_not_be_looked_up_is_said(verdict):
    status, lines = verdict(report(FINE, UNKNOWN))
    assert (status, lines[0]) == (0, "known faults: not evaluated for 1 of 2 packages: not in the data base")
    assert verdict(report(UNKNOWN)) == (0, ["known faults: not evaluated for 1 of 1 packages: not in the data base"])
    for nothing in ("", "no network", "{}"):
        assert "not evaluated" in verdict(nothing)[1][0]
