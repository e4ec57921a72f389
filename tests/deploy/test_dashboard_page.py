"""What the operator's page says of the network page, typed as printed."""

import http.client
import os
import pty
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

from deploy.local.broker import free_port
from ingest import catalogue
from ingest.migrate import migrate
from tests.deploy import pages
from tests.deploy.dashboards import NAME, PASSWORD
from tests.path.network import document, until

SECTION = "The network page"


class Terminal:
    """A shell's command on a terminal of its own, where a password can be asked for."""

    def __init__(self, line, folder, environment):
        self.said = b""
        self.pid, self._end = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve("/bin/sh", ["sh", "-c", f"exec {line}"], environment)
        os.set_blocking(self._end, False)

    def hears(self, pattern):
        until(lambda: self._read() and re.search(pattern, self.said.decode()), f"{pattern}; it said {self.said}")

    def _read(self):
        with suppress(OSError):  # nothing yet, or it has ended
            self.said += os.read(self._end, 65_536)
        return True

    def types(self, text):
        os.write(self._end, text.encode() + b"\n")


def test_the_commands_of_the_page_run_as_printed(plain_dsn, tmp_path):
    migrate(plain_dsn)
    catalogue.apply(plain_dsn, document())
    (tmp_path / "reports").mkdir()
    user, serve = (c.text for c in pages.commands() if c.section == SECTION)
    environment = os.environ | {"SKYLEDGER_DSN": plain_dsn, "SKYLEDGER_WRITE_DSN": plain_dsn, "TERM": "dumb"}
    port = free_port()  # the one on the page may be somebody else's
    environment["SKYLEDGER_DASHBOARD_PORT"] = str(port)
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    first = Terminal(user, tmp_path, environment)
    for question in ("Password: ", "Repeat for confirmation: "):
        first.hears(question)
        first.types(PASSWORD)
    first.hears(f"{NAME} may flag: users.json")
    assert os.waitpid(first.pid, 0)[1] == 0
    assert PASSWORD.encode() not in first.said  # it is not shown as it is typed
    second = Terminal(serve, tmp_path, environment)
    try:
        second.hears(rf"The network page: http://127\.0\.0\.1:{port}/ until Ctrl-C\.")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200
        assert b"Log in to flag" in answer.read()
        connection.close()
    finally:
        os.kill(second.pid, signal.SIGINT)
        status = os.waitpid(second.pid, 0)[1]
    assert status == 0, second.said
    assert stat_of(tmp_path / "users.json") == stat_of(tmp_path / "dashboard-secret") == 0o600


def stat_of(path):
    return path.stat().st_mode & 0o777
