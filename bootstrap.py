"""Make the environment: `.venv` beside this file with everything in requirements.lock, and this project.

    python3 bootstrap.py

Needs a Python and nothing else, neither root nor a compiler. A second run finds the stamp of the first and
does nothing; an interrupted one left no stamp and is redone. Installs with uv (the one on PATH, else one that
pip brings into the environment), else with pip; exact versions, hashes required, and where pip is configured to
look, uv looks too.

Written so that Pythons from 3.6 on can read it, and say in a sentence that they are too old.
"""

import configparser
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
NEWEST_TRIED = 20
# Started from an environment, even the one to be made anew: work with the Python that one was made from.
PYTHON = sys.executable if sys.prefix == sys.base_prefix else str(Path(sys.executable).resolve())
ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STAMP = VENV / "skyledger.stamp"
PROJECT = ("pyproject.toml", "station_agent/__init__.py")
RECIPE = "1"  # grows when this file makes environments differently
INTERRUPTED = 130


class BootstrapError(Exception):
    """What stands in the way, in one sentence."""


def main() -> int:
    """Make the environment if it is not there yet."""
    try:
        if sys.version_info < OLDEST:
            return hand_over()
        with Path(__file__).open() as lock:
            wait_for_lock(lock.fileno())
            make_environment()
    except BootstrapError as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bootstrap: interrupted; run it again and it starts afresh", file=sys.stderr)
        return INTERRUPTED
    return 0


def say(sentence: str) -> None:
    """Progress, at once."""
    print(f"bootstrap: {sentence}", flush=True)


def hand_over() -> int:
    """Run this file with a newer Python, if there is one."""
    python = newer_python()
    if python is None:
        this, oldest = ".".join(map(str, sys.version_info[:2])), ".".join(map(str, OLDEST))
        raise BootstrapError(
            f"this is Python {this} ({sys.executable}), skyledger needs {oldest} or newer, and none was found on PATH: "
            "install one, or name it (make PYTHON=/path/to/python3.12)"
        )
    return subprocess.call([python, str(Path(__file__).resolve())])


def newer_python() -> "str | None":
    """Path of a Python that is new enough."""
    names = [f"python3.{minor}" for minor in range(NEWEST_TRIED, OLDEST[1] - 1, -1)]
    for name in [*names, "python3", "python"]:
        for path in which_all(name):
            if new_enough(path):
                return path
    return None


def which_all(name: str) -> "list[str]":
    """Every program of this name on PATH."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return [path for path in (shutil.which(name, path=folder) for folder in folders if folder) if path]


def new_enough(python: str) -> bool:
    """Whether a Python runs and is new enough."""
    code = f"import sys; sys.exit(sys.version_info < {OLDEST!r})"
    try:
        return subprocess.call([python, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def wait_for_lock(lock: int) -> None:
    """Let another bootstrap of this checkout finish first."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another one is at work here; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)


def make_environment() -> None:
    """Bring `.venv` to what the lock says, doing only what differs from the stamp."""
    wanted, found = stamp(), read_stamp()
    same = {part for part in wanted if found.get(part) == wanted[part]}
    if same == set(wanted) and VENV_PYTHON.exists():
        return
    started = time.monotonic()
    if not os.access(str(VENV if VENV.is_dir() else ROOT), os.W_OK):
        raise BootstrapError(f"{ROOT} is not writable for you: run as its owner, or clone the project for yourself")
    version = sys.version.split()[0]
    say(f"making {VENV} with Python {version} ({PYTHON})")
    try:
        if "place" not in same or not VENV_PYTHON.exists():
            same = set()
            make_venv()
        else:
            STAMP.unlink()
        if "packages" not in same:
            installer().install_lock()
        install_project()
        write_stamp(wanted)
    except OSError as error:
        raise BootstrapError(f"cannot make {VENV}: {error}") from error
    say(f"done in {time.monotonic() - started:.0f} s")


def stamp() -> "dict[str, str]":
    """Say what the environment is made from, by the parts that can be redone alone."""
    return {
        "place": digest(RECIPE, str(ROOT), sys.version, str(Path(PYTHON).resolve())),
        "packages": digest(content(LOCK)),
        "project": digest(*[content(ROOT / name) for name in PROJECT]),
    }


def content(path: Path) -> str:
    """Text of a file that belongs to the checkout."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BootstrapError(f"{path} cannot be read ({error.strerror}): is this a whole checkout?") from error


def digest(*texts: str) -> str:
    """Fingerprint of texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def read_stamp() -> "dict[str, str]":
    """Stamp of the last finished run; empty if there is none."""
    try:
        return dict(line.split() for line in STAMP.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):
        return {}


def write_stamp(parts: "dict[str, str]") -> None:
    """Leave the stamp, whole or not at all."""
    draft = STAMP.with_suffix(".draft")
    draft.write_text("".join(f"{part} {value}\n" for part, value in sorted(parts.items())), encoding="utf-8")
    draft.replace(STAMP)


def make_venv() -> None:
    """Make an empty environment; an old one goes, and its stamp with it."""
    with contextlib.suppress(FileNotFoundError):
        STAMP.unlink()
    uv = uv_on_path()
    failure = f"an environment could not be made in {VENV}"
    if not importable("venv"):
        if uv is None:
            raise nothing_to_install_with()
        run([uv, "venv", "--quiet", "--clear", "--python", PYTHON, str(VENV)], failure)
        return
    # The lock brings pip; one of its own is needed only to bring uv.
    with_pip = uv is None and importable("ensurepip")
    if uv is None and not with_pip and not importable("pip"):
        raise nothing_to_install_with()
    options = [] if with_pip else ["--without-pip"]
    run([PYTHON, "-m", "venv", "--clear", *options, str(VENV)], failure)


def uv_on_path() -> "str | None":
    """Find uv, but not the one in the environment, which comes and goes with it."""
    uv = shutil.which("uv")
    return None if uv is None or VENV in Path(uv).resolve().parents else uv


def importable(module: str) -> bool:
    """Whether our Python has a module; asked of a fresh one, because importing some has effects."""
    return subprocess.call([PYTHON, "-c", f"import {module}"], stderr=subprocess.DEVNULL) == 0


def nothing_to_install_with() -> BootstrapError:
    """Say what is missing where there is neither uv nor a way to have pip."""
    return BootstrapError(
        f"{PYTHON} has neither ensurepip nor pip, and uv is not on PATH: "
        "install your system's package python3-venv (Debian: apt install python3-venv)"
    )


def installer() -> "Uv | Pip":
    """Choose uv from PATH, else the one of the lock, which pip brings, else pip."""
    uv = uv_on_path()
    if uv is not None:
        return Uv(uv)
    own = VENV / "bin" / "uv"
    if not own.exists():
        bring_uv()
    return Uv(str(own)) if own.exists() else Pip()


def bring_uv() -> None:
    """Install only uv, as pinned in the lock; without it pip does everything, more slowly."""
    block = re.search(r"^uv==.*(?:\n[ \t].*)*", content(LOCK), re.MULTILINE)
    if block is None:
        return
    say("bringing uv with pip")
    part = VENV / "uv.lock.part"
    part.write_text(block.group() + "\n", encoding="utf-8")
    pip = Pip()
    command = [*pip.command, "install", "--quiet", "--require-hashes", "--no-deps", "-r", str(part)]
    if subprocess.call(command, env=pip.environment) != 0:
        say("uv could not be had (see above); pip installs everything, which takes longer")
    part.unlink()


class Uv:
    """Installs with uv."""

    def __init__(self, program: str) -> None:
        self.program = program

    def install_lock(self) -> None:
        """Make the environment hold what the lock says and nothing else."""
        say(f"installing the packages of {LOCK.name} with uv")
        pip = pip_settings(os.environ)
        options = ["--no-index"] if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"} else []
        command = [self.program, "pip", "sync", "--python", str(VENV_PYTHON), "--require-hashes", *options, str(LOCK)]
        run(command, f"uv could not install {LOCK.name}", {**os.environ, **uv_settings(os.environ, pip)})


class Pip:
    """Installs with pip: that of the environment, else that of the system into the environment."""

    def __init__(self) -> None:
        own = (VENV / "bin" / "pip").exists()
        self.command = [str(VENV_PYTHON), "-m", "pip"]
        if not own:
            self.command = [PYTHON, "-m", "pip", "--python", str(VENV_PYTHON)]
        # A user-wide installation, which some configure, makes no sense in an environment.
        self.environment = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}

    def install_lock(self) -> None:
        """Install what the lock says."""
        say(f"installing the packages of {LOCK.name} with pip")
        command = [*self.command, "install", "--require-hashes", "--no-deps", "-r", str(LOCK)]
        run(command, f"pip could not install {LOCK.name}", self.environment)


def install_project() -> None:
    """Install this checkout, editable; the build backend is in the lock, so no network is needed."""
    say("installing this checkout")
    pip = Pip()
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    run([*pip.command, "install", *options, "--editable", str(ROOT)], "pip could not install it", pip.environment)


def run(command: "list[str]", failure: str, environment: "dict[str, str] | None" = None) -> None:
    """Run a command whose output the user sees."""
    code = subprocess.call(command, env=environment, stdin=subprocess.DEVNULL)
    if code != 0:
        line = " ".join(command)
        raise BootstrapError(f"{failure} (its message is above); exit code {code} of: {line}")


def pip_settings(environment: "os._Environ[str] | dict[str, str]") -> "dict[str, str]":
    """Where pip is told to look, by its configuration files and PIP_* variables, in pip's own order.

    Returns its long option names (``index-url``, ``find-links``, …) with their values.
    """
    settings = {}
    for section in ("global", "install"):
        for path in pip_files(environment):
            parser = configparser.RawConfigParser()
            try:
                parser.read(str(path), encoding="utf-8")
            except (configparser.Error, UnicodeDecodeError):
                continue  # pip itself complains about it
            if parser.has_section(section):
                settings.update({key.replace("_", "-"): value for key, value in parser.items(section) if value})
    prefix = "PIP_"
    for key, value in environment.items():
        if key.startswith(prefix) and value:
            settings[key[len(prefix) :].lower().replace("_", "-")] = value
    return settings


def pip_files(environment: "os._Environ[str] | dict[str, str]") -> "list[Path]":
    """List the configuration files of pip, the stronger later."""
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path(environment.get("HOME") or Path.home())
    shared = (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    files = [*[Path(folder) / "pip" / "pip.conf" for folder in shared], Path("/etc/pip.conf")]
    if named is None or not Path(named).exists():  # a file named in the environment takes the place of the user's
        files += [home / ".pip" / "pip.conf", user / "pip" / "pip.conf"]
    return [*files, Path(sys.prefix) / "pip.conf", *([Path(named)] if named else [])]


def uv_settings(environment: "os._Environ[str] | dict[str, str]", pip: "dict[str, str]") -> "dict[str, str]":
    """Say pip's settings in uv's variables; where uv was told itself, that stands."""
    settings = {}
    if not any(key.startswith("UV_") and ("INDEX" in key or key == "UV_FIND_LINKS") for key in environment):
        # pip takes the best version of all places, uv the first place that knows the name; hashes guard both.
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
        for option, variable, separator in (
            ("index-url", "UV_DEFAULT_INDEX", " "),
            ("extra-index-url", "UV_INDEX", " "),
            ("find-links", "UV_FIND_LINKS", ","),
            ("trusted-host", "UV_INSECURE_HOST", " "),
        ):
            if option in pip:
                settings[variable] = separator.join(pip[option].split())
    for option, variable in (
        ("cert", "SSL_CERT_FILE"),
        ("proxy", "ALL_PROXY"),
        ("default-timeout", "UV_HTTP_TIMEOUT"),
        ("timeout", "UV_HTTP_TIMEOUT"),
    ):
        if option in pip and variable not in environment:
            settings[variable] = pip[option]
    return settings


if __name__ == "__main__":
    sys.exit(main())
