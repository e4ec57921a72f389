"""A station's month on the embedded stack: what went in comes out, whatever happens everything is ended."""

import re

import nbformat
import pytest

from tests.notebooks.run import codes, execute, executed, pictures, read, text_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the notebook machinery's own


@pytest.fixture(autouse=True)
def nobodys(monkeypatch):
    """Without files of the user's own."""
    for name in ("SKYLEDGER_INSTRUMENT_FILES", "SKYLEDGER_INSTRUMENT_MODEL", "SKYLEDGER_QC_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def numbers(pattern, text):
    found = re.search(pattern, text)
    assert found, text
    return [float(each) for each in found.groups()]


def test_what_went_in_comes_out():
    notebook = executed("station_month.md")
    text = text_of(notebook)
    assert "no files of yours: they are simulated" in text
    assert "Counts(messages=2232, readings=1071360, aside=0)" in text
    assert "267840 rows in 31.00 days, 89280 of CO2" in text
    assert "CO2 at 55m of lin-an, 737 hours from 2026-01-01T00:00" in text
    # The two hours the ledger rejects, of ten minutes in twenty each.
    assert re.search(r"manual +60 evaluated +0 suspect +60 bad +60 flagged", text)
    by_sd, by_rebs, by_both = numbers(r"(\d+) minutes are spikes by SD, (\d+) by REBS, (\d+) by both", text)
    assert by_both <= by_sd < by_rebs
    assert 150 < by_sd < 400  # six plumes of five minutes a day, half of them at this inlet
    injections, bias, ltr = numbers(r"target tank6: (\d+) injections, bias (-?[\d.]+), LTR ([\d.]+) ppm, within", text)
    assert injections == 31
    assert abs(bias) < 0.01
    assert 0 < ltr < 0.03
    mean, spread = numbers(r"good minutes against the truth: ([+-][\d.]+) ± ([\d.]+) ppm", text)
    assert abs(mean) < 0.01
    assert spread < 0.05
    assert "uncorrected they would be off by +0.91 ppm" in text
    growth, made = numbers(r"growth rate ([\d.]+) ppm a year, as made ([\d.]+)", text)
    assert growth == pytest.approx(made, abs=0.05)
    assert numbers(r"it misses the truth by ([\d.]+) ppm a year", text)[0] < 0.3
    assert pictures(notebook) == 10


def test_files_of_ones_own_are_taken(nobodys, shared):
    nobodys.setenv("SKYLEDGER_INSTRUMENT_FILES", str(shared / "data" / "instruments" / "picarro_g2301_hour.da[t]"))
    notebook = executed("station_month.md")
    text = text_of(notebook)
    assert "1 files of yours, the first picarro_g2301_hour.dat" in text
    assert "CO2 at port-10 of lin-an, 2 hours from 2015-08-31T18:00" in text
    assert "3618 rows" in text
    assert "no calibration is configured: values are the instrument's own" in text
    assert "against the truth" not in text
    assert pictures(notebook) == 7


LEFT = """
import socket, psycopg
with socket.socket() as one:
    print("broker", one.connect_ex((stack.host, stack.port)) == 0)
try:
    psycopg.connect(stack.dsn, connect_timeout=5).close()
    print("database True")
except psycopg.OperationalError:
    print("database False")
print("folder", folder.exists())
print("agent", None if agent.poll() is None else "ended")
"""


def test_what_was_started_is_ended_when_the_cell_fails():
    notebook = read("station_month.md")
    for cell in codes(notebook):
        cell.source = cell.source.replace(
            'DAYS = np.datetime64("2026-01-01"), 31', 'DAYS = np.datetime64("2026-01-01"), 1'
        )
    (place,) = (k for k, cell in enumerate(notebook.cells) if "jobs.run_once(" in cell.source)
    cell = notebook.cells[place]
    cell.source = cell.source.replace(
        "    print(*jobs.run_once(", "    raise RuntimeError('in the middle')\n    print(*jobs.run_once("
    )
    notebook.cells = [*notebook.cells[: place + 1], nbformat.v4.new_code_cell(LEFT)]
    execute(notebook, allow_errors=True)
    errors = [one.evalue for cell in notebook.cells for one in cell.get("outputs", []) if one.output_type == "error"]
    assert errors == ["in the middle"]
    text = text_of(notebook)
    assert "Counts(messages=72," in text  # all was there when it happened
    assert "broker False\ndatabase False\nfolder False\nagent ended\n" in text
