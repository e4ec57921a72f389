"""A machine with Debian 13 and nothing else: a root made by debootstrap, booted with its own systemd.

Its network is its own loopback and nothing more, so that whatever it opens cannot be in anybody's way. What fetches
packages (`apt-get`, `pip`) is the exception: it runs with the network of this machine, by the ways set up here.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.servers import absent

SUITE = "trixie"
CACHE = Path(os.environ.get("SKYLEDGER_CACHE", "/var/cache/skyledger"))
PROGRAMS = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container", "nsenter": "util-linux"}
FETCHING = ("apt-get ", "/opt/skyledger/bin/pip ")
STATE = "/run/typed"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def require():
    """Skip, or fail in CI, where no such machine can be made."""
    if os.geteuid() != 0:
        absent("a machine of its own takes root")
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            absent(f"{program} is not installed: install your system's package {package}")


def bare_root():
    """Folder of a Debian 13 with systemd and nothing else, made once and never written to."""
    root = CACHE / f"{SUITE}-bare"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{SUITE}-bare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            draft = CACHE / f"{SUITE}-bare-draft"
            shutil.rmtree(draft, ignore_errors=True)
            command = [
                "debootstrap",
                "--variant=minbase",
                "--include=systemd,ca-certificates",
                SUITE,
                draft,
                *_mirror(),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
            draft.rename(root)
    return root


def _mirror():
    """Where this system's apt gets Debian from, if it says so."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("http") and "security" not in line]
    return [line for line in found if line.rstrip("/").endswith("/debian")][:1]


class Machine:
    """Booted; `type` a line as root, as at its console.

    Parameters
    ----------
    wheels : path
        A folder where its pip finds packages beside the registry.
    """

    def __init__(self, wheels, *, hosts=()):
        self.folder = Path(tempfile.mkdtemp(prefix="skyledger-machine-", dir="/var/tmp"))
        self.root = self.folder / "root"
        subprocess.run(["cp", "-a", bare_root(), self.root], check=True)
        shutil.copytree(wheels, self.root / "srv/wheels")
        self._ways_to_packages()
        (self.root / "etc/hostname").write_text("bare\n")
        with (self.root / "etc/hosts").open("a") as file:
            file.writelines(f"127.0.0.1 {name}\n" for name in ("localhost", "bare", *hosts))
        self.process = self.leader = None

    def _ways_to_packages(self):
        """Lay in what this machine's clients of the registries go by."""
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        shutil.copy("/etc/hosts", self.root / "etc/hosts")
        for file in Path("/etc/apt/apt.conf.d").glob("99*"):
            shutil.copy(file, self.root / "etc/apt/apt.conf.d")
        for file in (Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf"):
            if file.is_file():
                target = self.root / str(file).lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
        authorities = Path("/etc/ssl/certs/ca-certificates.crt")
        if authorities.is_file():
            shutil.copy(authorities, self.root / "etc/ssl/certs/ca-certificates.crt")

    def boot(self):
        log = (self.folder / "console").open("w")
        command = [
            "systemd-nspawn",
            "--quiet",
            "--keep-unit",
            "--register=no",
            "--private-network",
            "--resolv-conf=off",
        ]
        command += ["--machine=bare", "-D", self.root, "--boot"]
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        log.close()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            if self.process.poll() is None and (found := children.read_text().split()):
                self.leader = int(found[0])
                state = self._enter(["systemctl", "is-system-running"]).stdout.strip()
                if state in {"running", "degraded"}:
                    return
            time.sleep(0.3)
        absent("systemd did not come up in the machine: " + (self.folder / "console").read_text()[-2000:])

    def _enter(self, command, *, fetching=False, seconds=600, **options):
        spaces = ["--mount", "--pid", "--uts", "--ipc", "--root", "--wd", *([] if fetching else ["--net"])]
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")} if fetching else {}
        environment = {**kept, "PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        if fetching:
            environment["PIP_FIND_LINKS"] = "/srv/wheels"
        return subprocess.run(
            ["nsenter", f"--target={self.leader}", *spaces, "--", *command],
            capture_output=True, text=True, check=False, timeout=seconds, env=environment, stdin=subprocess.DEVNULL,
            **options,
        )  # fmt: skip

    def type(self, line, *, seconds=600):
        """Run a line in the shell that goes on from line to line; returns the finished process."""
        script = (
            f"test -e {STATE} && . {STATE}; {line}\n"
            f'status=$?; umask 077; {{ export -p; declare -p P 2>/dev/null; echo "cd $PWD"; }} >{STATE}; exit $status'
        )
        if line.startswith("umask"):
            script = f"echo '{line}' >{STATE}.umask"
        else:
            script = f"test -e {STATE}.umask && . {STATE}.umask\n{script}"
        return self._enter(["bash", "-c", script], fetching=line.startswith(FETCHING), seconds=seconds)

    def end(self):
        if self.process is not None and self.process.poll() is None:
            if self.leader is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.leader, 9)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def machine(wheels, *, hosts=()):
    require()
    made = Machine(wheels, hosts=hosts)
    try:
        made.boot()
        yield made
    finally:
        made.end()
