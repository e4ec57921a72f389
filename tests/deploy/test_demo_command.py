"""The command `skyledger demo`, used as a person would."""

import re
import signal
import subprocess
import sys

import pytest

from tests import servers
from tests.deploy.processes import all_gone, descendants, eventually

COMMAND = (sys.executable, "-m", "deploy", "demo")


@pytest.fixture
def folder():
    with servers.throwaway_folder() as place:
        yield place


@pytest.mark.parametrize(
    ("step", "workers"), [("A simulated network", 2), ("weather, footprints", 2), ("starting database", 12)]
)
def test_ctrl_c_leaves_nothing_running(folder, step, workers):
    """Interrupted while the step after the named one is under way."""
    log = folder / "log"
    with log.open("wb") as output:
        demo = subprocess.Popen(
            [*COMMAND, "--directory", str(folder / "demo"), "--days", "3"],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        assert eventually(lambda: step in log.read_text() and len(descendants(demo.pid)) >= workers, seconds=120)
        everything = descendants(demo.pid)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 130
        assert all_gone(everything)
        assert "Traceback" not in log.read_text()
    finally:
        demo.kill()
        demo.wait()


def test_real_files_are_replayed_and_what_is_not_is_named(folder, shared):
    files = folder / "files"
    files.mkdir()
    data = shared / "data" / "instruments"
    whole = (data / "picarro_g2301.dat").read_bytes()
    cut = whole.split(b"\r\n")
    cut[4] = cut[4][:100]
    (files / "Picarro hour.dat").write_bytes((data / "picarro_g2301_hour.dat").read_bytes())
    (files / "broken.dat").write_bytes(b"\r\n".join(cut))
    for name in ("licor_li7810.data", "licor_li850.txt", "lgr_ugga.csv", "aqmesh_co2.csv"):
        (files / name).write_bytes((data / name).read_bytes())
    done = subprocess.run(
        [*COMMAND, "--directory", str(folder / "demo"), "--instrument-files", str(files)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "co2                     1,206 values, mean 481.953 umol mol-1" in done.stdout
    assert "n2o" not in done.stdout
    assert re.search(r"ch4 +507 values, mean 20\d\d\.\d+ nmol mol-1", done.stdout)
    assert re.search(r"dew_point +121 values, mean 12\.\d+ degC", done.stdout)
    assert "aqmesh_co2.csv: not replayed: no driver recognises this file" in done.stdout
    assert "lgr_ugga.csv: not replayed: the date 05/04/2023 can be read with the day or with the month" in done.stdout
    assert "Kept aside: 1" in done.stdout
    assert "broken.dat line 5" in done.stdout


def test_a_folder_that_is_none(folder):
    command = [*COMMAND, "--directory", str(folder / "demo"), "--instrument-files", str(folder / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"skyledger: {folder / 'nowhere'} is not a folder with files in it")
