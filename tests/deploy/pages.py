"""The commands printed in the operator's page, and what each of them is tested by.

A command is a line of an indented block; a here-document belongs to its command.
"""

from pathlib import Path

from tests import printed

PAGE = Path(__file__).parents[2] / "deploy/README.md"
FIRST = "From nothing to a first reading"
_OWNER = "cd /; unset PGSSLMODE PGSSLROOTCERT; SKYLEDGER_DSN=dbname=skyledger runuser -u skyledger -- "
_WORKER = (
    "systemctl stop skyledger-ingest@ingest-1;"
    f" P=$({_OWNER}skyledger db user incoming --role ingest);"
    " cd /etc/skyledger; export SKYLEDGER_BROKER=mqtt.example.org:8883;"
    " export SKYLEDGER_DSN=postgresql://incoming:$P@localhost/skyledger; timeout --preserve-status -s TERM 8 "
)
_TLS = "--ca ca.crt --cert ingest-1/ingest-1.crt --key ingest-1/ingest-1.key --client-id ingest-1"
_AGAIN = (  # with a new password, for the page has given the worker's user another
    f"P=$({_OWNER}skyledger db user incoming --role ingest);"
    ' sed -i "s|//incoming:.*@|//incoming:$P@|" /etc/skyledger/ingest-1.env;'
    " systemctl restart skyledger-ingest@ingest-1;"
    " timeout 60 sh -c 'until curl -fs http://127.0.0.1:9464/readyz; do sleep 1; done';"
    " timeout 60 sh -c 'until curl -fs http://127.0.0.1:9090/api/v1/query?query=skyledger_ingest_connected==1"
    " | grep -q value; do sleep 1; done'; "
)

_YESTERDAY = (
    "cd /; {} && su postgres -c \"psql -p 5433 -d skyledger -Atc 'SELECT count(*) FROM message'\""
    ' && su postgres -c "/usr/lib/postgresql/17/bin/pg_ctl stop -D /var/lib/postgresql/yesterday"'
)

WALKED = {
    "skyledger station add": ("cd /etc/skyledger; {}", 0),
    "skyledger pki ": ("cd /etc/skyledger; {}", 0),
    # Something is committed after the time that is asked for, as of yesterday there is.
    "skyledger db restore /var/backups/skyledger --to /var/lib/postgresql/yesterday": (
        "cd /; U=$(date -u +%FT%T); sleep 2; su postgres -c \"psql -qAtc 'SELECT pg_current_xact_id()'\"; {}",
        0,
    ),
    "skyledger db restore": ("cd /; {}", 0),
    'su postgres -c "/usr/lib/postgresql/17/bin/pg_ctl start': (_YESTERDAY, 0),
    "skyledger db ": (_OWNER + "{}", 0),
    "systemctl ": ("{}", 0),
    "install ": ("cd /root/files; {}", 0),
    "mv /var/lib/postgresql": ("{}", 0),
    "su postgres ": ("cd /; {}", 0),
    "skyledger ingest run": (_WORKER + "{}", 0),
    "apt-get install": ("{}", 0),
    "install -m 644 prometheus/": ("cd /root/files; {}", 0),
    "sed -i ": ("{}", 0),
    "promtool check ": ("{}", 0),
    "amtool check-config ": ("{}", 0),
    "echo 'ARGS=": ("{}", 0),
    "systemctl reset-failed prometheus": ("{}", 0),
    "systemctl restart prometheus": ("{}", 0),
    "curl ": (_AGAIN + "{}", 0),
    "journalctl ": ("{}", 0),
}
"""How the walk types what stands outside the first section: who types it and where, and how it ends."""

ELSEWHERE: dict[str, str] = {
    # As the units do, which the walk starts; by hand one of them goes on for ever.
    "skyledger db wal": "tests/deploy/test_restore_drill.py::test_with_the_stream_every_reading_is_there_exactly_once",
    "skyledger db backup": "tests/deploy/test_backup.py::test_old_ones_go_with_the_log_only_they_needed",
    "skyledger dashboard": "tests/deploy/test_dashboard_page.py::test_the_commands_of_the_page_run_as_printed",
}
"""What is executed by a test of its own: the beginning of the command, and the test."""

FILLED = {
    "2026-03-01T12:00": "$U",
    "--dsn …": "",
    "--broker …": _TLS,
    " …": f" {_TLS}",
}
"""What a reader fills in."""


def commands():
    return printed.blocks("deploy/README.md")


def elsewhere(text):
    """Return the test that executes a command, None where it is the walk."""
    return next((test for beginning, test in ELSEWHERE.items() if text.startswith(beginning)), None)


def typed_as(command):
    """Return what the walk types for a command, and the status it ends with; raises KeyError where nothing is known."""
    for beginning, (form, ends) in WALKED.items():
        if command.text.startswith(beginning):
            text = command.text
            for blank, filled in FILLED.items():
                text = text.replace(blank, filled)
            return form.format(text), ends
    raise KeyError(f"{command.section}: {command.text!r} is executed by no test: teach tests/deploy/pages.py how")
