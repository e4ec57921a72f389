"""The page about energy balances runs as it stands."""

import doctest
from pathlib import Path

import inversion.inventory


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Path(inversion.inventory.__file__).with_name("BALANCE.md")
    run = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS, encoding="utf-8")
    assert run.attempted > 15
    assert run.failed == 0
