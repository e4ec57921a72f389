"""bootstrap.py: what it says, what it learns from pip, and that half an environment is never taken for one."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "bootstrap.py"


def loaded(path=SCRIPT):
    spec = importlib.util.spec_from_file_location("bootstrap_under_test", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path):
    """Just enough of a checkout, and its bootstrap as a module."""
    for name in ("bootstrap.py", "requirements.lock", "pyproject.toml", "station_agent/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return loaded(tmp_path / "bootstrap.py")


def run(*command, **variables):
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **variables}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, check=False, timeout=120
    )


def finish(module):
    """What a finished run leaves."""
    module.VENV_PYTHON.parent.mkdir(parents=True)
    module.VENV_PYTHON.symlink_to(sys.executable)
    module.write_stamp(module.stamp())


def test_old_pythons_can_read_it():
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))


AS_IF_OLD = "import runpy, sys; sys.version_info = (3, 9, 1); runpy.run_path(sys.argv[1], run_name='__main__')"


def test_too_old_a_python_says_so_in_a_sentence():
    done = run("-c", AS_IF_OLD, SCRIPT, PATH="/nonexistent")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "this is Python 3.9 (" in done.stderr
    assert "needs 3.11 or newer" in done.stderr


def test_too_old_a_python_hands_over_to_a_newer_one(checkout):
    checkout.LOCK.unlink()
    folder = checkout.ROOT / "bin"
    folder.mkdir()
    (folder / "python3.12").symlink_to("/nonexistent")
    (folder / "python3").symlink_to(sys.executable)
    done = run("-c", AS_IF_OLD, checkout.__file__, PATH=str(folder))
    assert done.returncode == 1
    assert "requirements.lock cannot be read" in done.stderr  # said by the newer one


def test_broken_checkout_is_told_in_a_sentence(checkout):
    checkout.LOCK.unlink()
    done = run(checkout.__file__)
    assert done.returncode == 1
    assert done.stderr == (
        f"bootstrap: {checkout.LOCK} cannot be read (No such file or directory): is this a whole checkout?\n"
    )


def test_second_run_does_nothing_and_needs_nothing(checkout):
    finish(checkout)
    done = run(checkout.__file__, PATH="/nonexistent", PIP_NO_INDEX="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_run_that_fails_leaves_no_stamp(checkout):
    finish(checkout)
    with checkout.LOCK.open("a") as file:
        file.write("# changed\n")
    shutil.rmtree(checkout.VENV / "bin")
    # With the uv of our environment and nowhere to look, it fails as soon as it installs.
    done = run(checkout.__file__, PATH=str(Path(sys.executable).parent), PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    assert done.returncode == 1
    assert "could not install requirements.lock (its message is above)" in done.stderr
    assert not checkout.STAMP.exists()


def test_moved_or_half_made_environment_is_noticed(checkout):
    finish(checkout)
    whole = checkout.read_stamp()
    assert whole == checkout.stamp()
    checkout.STAMP.write_text(checkout.STAMP.read_text().partition("\n")[0])
    assert checkout.read_stamp() != whole
    checkout.STAMP.write_text("not a stamp at all")
    assert checkout.read_stamp() == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_checkout_of_another_user_is_told_in_a_sentence(checkout):
    checkout.ROOT.chmod(0o500)
    done = run(checkout.__file__)
    checkout.ROOT.chmod(0o700)
    assert done.returncode == 1
    assert "is not writable for you" in done.stderr


def test_without_any_installer_the_missing_package_is_named(checkout):
    absent = checkout.ROOT / "absent"
    for name in ("ensurepip", "pip"):
        (absent / name).mkdir(parents=True)
        (absent / name / "__init__.py").write_text("raise ImportError")
    done = run(checkout.__file__, PATH="/nonexistent", PYTHONPATH=str(absent))
    assert done.returncode == 1
    assert "python3-venv" in done.stderr
    assert not checkout.VENV.exists()


@pytest.mark.parametrize("with_named_file", [False, True])
def test_pip_is_understood_as_pip_understands_itself(tmp_path, with_named_file):
    home, named = tmp_path / "home", tmp_path / "named.conf"
    (home / ".config/pip").mkdir(parents=True)
    (home / ".config/pip/pip.conf").write_text(
        "[global]\nindex-url = https://one.example/simple\nextra-index-url =\n    https://two.example\n    file:///three\n"
        "timeout = 7\n[install]\nindex_url = https://install.example/simple\n"
    )
    named.write_text("[global]\nfind-links = /wheels /more\ntimeout = 8\n")
    variables = {
        "HOME": str(home),
        "PIP_TRUSTED_HOST": "one.example",
        "PATH": os.defpath,
    }
    if with_named_file:
        variables["PIP_CONFIG_FILE"] = str(named)
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, env=variables, check=True
    ).stdout
    theirs = {}
    for prefix in ("global.", "install.", ":env:."):
        for line in listed.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(prefix):
                theirs[key.removeprefix(prefix).replace("_", "-")] = ast.literal_eval(value)
    theirs.pop("config-file", None)
    ours = loaded().pip_settings(variables)
    ours.pop("config-file", None)
    assert ours == theirs
    assert ours["timeout"] == ("8" if with_named_file else "7")
    assert ours.get("index-url") == (None if with_named_file else "https://install.example/simple")


def test_uv_is_told_what_pip_is_told():
    bootstrap = loaded()
    pip = {
        "index-url": "https://one.example/simple",
        "extra-index-url": "\nhttps://two.example\nfile:///three",
        "find-links": "/wheels /more",
        "trusted-host": "one.example",
        "cert": "/etc/ca.pem",
        "timeout": "8",
        "proxy": "http://proxy:3128",
    }
    assert bootstrap.uv_settings({}, pip) == {
        "UV_DEFAULT_INDEX": "https://one.example/simple",
        "UV_INDEX": "https://two.example file:///three",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INSECURE_HOST": "one.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "UV_HTTP_TIMEOUT": "8",
        "ALL_PROXY": "http://proxy:3128",
    }
    told = {"UV_DEFAULT_INDEX": "https://mine.example", "SSL_CERT_FILE": "/mine.pem"}
    assert bootstrap.uv_settings(told, {"index-url": "https://one.example", "cert": "/etc/ca.pem"}) == {}


def test_lock_has_hashes_no_addresses_and_what_the_installation_itself_needs():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    entries = [block for block in lock.replace("\\\n", " ").splitlines() if block.strip()]
    assert all("--hash=sha256:" in entry for entry in entries)
    names = {entry.partition("==")[0] for entry in entries}
    assert {"pip", "uv", "hatchling", "editables", "paho-mqtt"} <= names


def test_bench_runs_the_families_it_is_asked_for():
    done = run("-m", "tests.bench", "no-such-family", PYTHONPATH=str(ROOT))
    assert done.returncode == 2
    assert "no family no-such-family" in done.stderr
