"""The Alertmanager itself, told of alerts: who gets which mail, and what is in it."""

import email
import json
import shutil
import socket
import socketserver
import subprocess
import threading
import urllib.request
from contextlib import contextmanager
from email.policy import default

import pytest
import yaml

from tests.deploy.processes import eventually
from tests.deploy.test_prometheus import FOLDER, RULES
from tests.deploy.watched import free_port
from tests.servers import absent


class Postman(socketserver.StreamRequestHandler):
    """As much of SMTP as takes a mail."""

    def handle(self):
        self.say("220 here")
        to = []
        for line in self.rfile:
            word = line.decode().strip()
            if word.upper().startswith("EHLO"):
                self.say("250 here")
            elif word.upper().startswith("RCPT TO:"):
                to.append(word[8:].strip("<> "))
                self.say("250 ok")
            elif word.upper() == "DATA":
                self.say("354 go on")
                text = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append((to, email.message_from_bytes(text, policy=default)))
                to = []
                self.say("250 ok")
            elif word.upper() == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")

    def say(self, text):
        self.wfile.write(f"{text}\r\n".encode())


@contextmanager
def post_office():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Postman) as server:
        server.daemon_threads = True
        server.mails = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class Alertmanager:
    """It runs with its own file; the relay is ours, and what is gathered waits a second."""

    def __init__(self, folder, relay):
        program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
        if program is None:
            absent("alertmanager is not installed: install your system's package prometheus-alertmanager")
        settings = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
        settings["global"] = {"smtp_smarthost": relay, "smtp_from": "skyledger@example.org", "smtp_require_tls": False}
        for route in (settings["route"], *settings["route"]["routes"]):
            route["group_wait"] = route["group_interval"] = "1s"
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(settings))
        self.address = f"127.0.0.1:{free_port()}"
        self._log = (folder / "log").open("w")
        self.process = subprocess.Popen(
            [program, f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'data'}",
             f"--web.listen-address={self.address}", "--cluster.listen-address="],
            stdout=self._log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert eventually(self.ready), (folder / "log").read_text()

    def ready(self):
        host, _, port = self.address.partition(":")
        with socket.socket() as one:
            return one.connect_ex((host, int(port))) == 0

    def tell(self, *names, **labels):
        """Tell it of alerts, as Prometheus would: their own labels and sentences."""
        alerts = [
            {
                "labels": {"alertname": name, **RULES[name]["labels"], **labels},
                "annotations": {"summary": f"{name} of a test", "do": RULES[name]["annotations"]["do"]},
            }
            for name in names
        ]
        request = urllib.request.Request(
            f"http://{self.address}/api/v2/alerts", json.dumps(alerts).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=10).close()

    def end(self):
        self.process.terminate()
        self.process.wait(30)
        self._log.close()


@pytest.fixture
def office(tmp_path):
    with post_office() as server:
        host, port = server.server_address
        manager = Alertmanager(tmp_path, f"{host}:{port}")
        try:
            yield manager, server.mails
        finally:
            manager.end()


def test_mail_says_what_it_is_and_what_to_do_to_whom_it_concerns(office):
    manager, mails = office
    manager.tell("Watching", "StationBehind", "StationSpoolFilling", "StationLosesReadings", station="lin-an")
    assert eventually(lambda: len(mails) >= 2, seconds=60)
    assert {tuple(to): mail["Subject"] for to, mail in mails} == {
        ("operator@example.org",): "[skyledger] firing: StationSpoolFilling",
        ("night@example.org",): "[skyledger] firing, CRITICAL: StationLosesReadings",
    }
    for _, mail in mails:
        assert [part.get_content_type() for part in mail.walk() if not part.is_multipart()] == ["text/plain"]
        name = mail["Subject"].rpartition(" ")[2]
        text = " ".join(mail.get_body().get_content().split())
        assert f"{name} of a test" in text
        assert " ".join(RULES[name]["annotations"]["do"].split()) in text


def test_where_the_cause_is_told_what_follows_from_it_is_not(office):
    manager, mails = office
    manager.tell("DatabaseGone")
    assert eventually(lambda: mails, seconds=60)
    manager.tell("StationSilent", "IngestBehind", "StationSpoolFilling", station="lin-an")
    assert eventually(lambda: len(mails) >= 2, seconds=60)
    with urllib.request.urlopen(f"http://{manager.address}/api/v2/alerts", timeout=10) as answer:
        states = {one["labels"]["alertname"]: one["status"]["state"] for one in json.load(answer)}
    assert {name for name, state in states.items() if state == "suppressed"} == {"StationSilent", "IngestBehind"}
    subjects = [mail["Subject"] for _, mail in mails]
    assert subjects == ["[skyledger] firing, CRITICAL: DatabaseGone", "[skyledger] firing: StationSpoolFilling"]
