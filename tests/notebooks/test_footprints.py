"""Footprints of a tower, an aircraft and a column, and files of others: what the notebook says of them."""

import re

import pytest

from tests.notebooks.run import executed, pictures, text_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the notebook machinery's own


def numbers(pattern, text):
    found = re.search(pattern, text)
    assert found, text
    return [float(each) for each in found.groups()]


def tower(text):
    """(height, time) -> ppb, per cent of the last hours, near, outside."""
    row = r"^ *(\d+) m +(\d\d:\d\d) +([\d.]+) ppb +(\d+) % +(\d+) % +(\d+) %$"
    return {(int(h), when): [float(v) for v in values] for h, when, *values in re.findall(row, text, re.MULTILINE)}


def made_up(text):
    """What holds whatever files there are."""
    seen = tower(text)
    assert set(seen) == {(height, when) for height in (30, 300) for when in ("06:30", "18:30")}
    # By day both heights see the same; by night the lower one what is near, the upper one nothing of the last hours.
    assert seen[30, "06:30"][0] == pytest.approx(seen[300, "06:30"][0], rel=0.05)
    assert seen[30, "18:30"][0] > 1.6 * seen[300, "18:30"][0]
    assert seen[30, "18:30"][1] > 40
    assert seen[300, "18:30"][1:3] == [0, 0]
    assert all(values[3] > 50 for values in seen.values())
    (spent,) = numbers(r"of 48 h the particles spent ([\d.]+) % in the boxes", text)
    assert 60 < spent < 95
    flight = [(float(h), float(ppb), float(t)) for h, ppb, t in re.findall(r"(\d+) m: +([\d.]+) ppb, +(\d+) %", text)]
    assert [h for h, _, _ in flight] == sorted(h for h, _, _ in flight)
    below, above = [f for f in flight if f[0] < 1500], [f for f in flight if f[0] > 1500]
    assert len(below) == len(above) == 3
    assert all(ppb > 10 and share > 30 for _, ppb, share in below)
    assert all(ppb == share == 0 for _, ppb, share in above)
    assert "13 receptors hold 28 % of w A" in text
    column, by_tower = numbers(r"the column gains ([\d.]+) ppb where the tower gains ([\d.]+) ppb", text)
    # Of 1.5 km of mixed air, 16 % of the column at A of 0.81 and more.
    assert 0.10 < column / by_tower < 0.18
    assert "grid_time.nc, written by this notebook: FLEXPART, this notebook, in FLEXPART's form" in text
    for name in ("grid_time.nc", "name.nc"):
        total, common = numbers(rf"ours over {re.escape(name)}: total ([\d.]+), in common (\d+) %", text)
        assert total == pytest.approx(1.0, abs=0.06)
        assert common > 75


def test_without_files_of_others_it_writes_its_own_and_says_so(monkeypatch, tmp_path):
    (tmp_path / "broken.nc").write_text("not a netCDF file")
    monkeypatch.setenv("SKYLEDGER_FOOTPRINTS", str(tmp_path))
    notebook = executed("footprints.md")
    text = text_of(notebook)
    made_up(text)
    assert "broken.nc cannot be used: It is no netCDF file that can be read." in text
    assert f"no footprint files in {tmp_path}: set SKYLEDGER_FOOTPRINTS" in text
    assert pictures(notebook) == 12


def test_real_files_are_read_and_two_models_compared(monkeypatch, shared):
    monkeypatch.setenv("SKYLEDGER_FOOTPRINTS", str(shared / "data" / "footprints"))
    notebook = executed("footprints.md")
    text = text_of(notebook)
    made_up(text)
    assert "name_thw_column.nc: NAME UMG EUROPE, 4 receptors, mean total 2.689" in text
    assert "flexpart_mhd_10m.nc: FLEXPART ECMWFHRES EUROPE, 49 receptors" in text
    assert "stilt_foot.nc: STILT, 1 receptors, mean total 2.682" in text
    total, common = numbers(
        r"flexpart11_grid_time_backward.nc over stilt_foot.nc, 200 m at 36.0° N 116.0° E: "
        r"total ([\d.]+), in common (\d+) %",
        text,
    )
    assert total == pytest.approx(1.30, abs=0.01)  # 3.482 over 2.682
    assert 60 < common < 75
    assert pictures(notebook) == 16
