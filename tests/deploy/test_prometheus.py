"""Prometheus and its Alertmanager: files they take, every alert fired and kept silent, and mail to whom it concerns."""

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.servers import absent

FOLDER = Path(__file__).parents[2] / "deploy/prometheus"
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((FOLDER / "skyledger.rules.yml").read_text())["groups"]
    for rule in group["rules"]
}
ROUTING = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
DAY = 24 * 60


def program(name, package):
    found = shutil.which(name)
    if found is None:
        absent(f"{name} is not installed: install your system's package {package}")
    return found


@pytest.fixture(scope="module")
def promtool():
    return program("promtool", "prometheus")


@pytest.fixture(scope="module")
def amtool():
    return program("amtool", "prometheus-alertmanager")


def ran(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


# --- what the programs themselves say -----------------------------------------------------------------


def test_prometheus_takes_the_files(promtool):
    done = ran(promtool, "check", "config", FOLDER / "prometheus.yml")
    assert done.returncode == 0, done.stderr
    assert f"{len(RULES)} rules found" in done.stdout
    assert "duplicate" not in done.stdout


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("prometheus.yml", "scrape_interval", "scrape_intervall"), ("skyledger.rules.yml", "max by (", "max bye (")],
)
def test_prometheus_refuses_them_when_they_are_broken(promtool, tmp_path, file, old, new):
    shutil.copytree(FOLDER, tmp_path / "prometheus")
    broken = tmp_path / "prometheus" / file
    broken.write_text(broken.read_text().replace(old, new, 1))
    assert ran(promtool, "check", "config", tmp_path / "prometheus/prometheus.yml").returncode == 1


def test_the_alertmanager_takes_its_file(amtool):
    done = ran(amtool, "check-config", FOLDER / "alertmanager.yml")
    assert done.returncode == 0, done.stderr
    assert "3 receivers" in done.stdout


@pytest.mark.parametrize(("severity", "receiver"), [("critical", "night"), ("warning", "operator"), ("info", "nobody")])
def test_who_is_told(amtool, severity, receiver):
    command = [amtool, "config", "routes", "test", f"--config.file={FOLDER / 'alertmanager.yml'}"]
    done = ran(*command, f"severity={severity}", "alertname=StationSilent", "station=lin-an")
    assert (done.returncode, done.stdout.strip()) == (0, receiver)


def test_what_keeps_others_silent_are_alerts_there_are():
    for rule in ROUTING["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            names = re.fullmatch(r'alertname =~? "(.*)"', matcher)[1].split("|")
            assert set(names) <= set(RULES)


def test_nothing_is_used_that_differs_between_prometheus_2_and_3():
    """The compose file's is 3, Debian's 2: functions renamed, buckets as 1 or 1.0, a dot that is a newline or not."""
    text = "".join(rule["expr"] for rule in RULES.values())
    assert not re.search(r"holt_winters|double_exponential|\ble=|=~|!~|\boffset\b|@|info\(|sort_by", text)


def test_every_alert_says_what_it_is_and_what_to_do():
    assert len(RULES) > 20
    for rule in RULES.values():
        assert set(rule["annotations"]) == {"summary", "do"}
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["do"].endswith((".", "`"))


def test_the_page_has_every_alert_and_who_is_told():
    page = (FOLDER.parent / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (critical|warning|info) \| (.{20,}) \|$", page, re.MULTILINE)
    assert {alert: severity for alert, severity, _ in rows} == {
        alert: rule["labels"]["severity"] for alert, rule in RULES.items()
    }


# --- every alert: fires when it must, silent when not -------------------------------------------------


@dataclass
class Case:
    """Series as promtool writes them, a value a minute; when it fires, when it does not yet, and what it says then."""

    sick: dict[str, str]
    well: dict[str, str]
    fires: int
    not_yet: int | None
    says: str
    labels: dict[str, str] = field(default_factory=dict)


def of(name, value, *, station="lin-an", worker="a"):
    return {f'skyledger_station_{name}{{station="{station}",instance="{worker}"}}': value}


def ingest(name, value, labels=""):
    return {f"skyledger_{name}{{{labels}}}": value}


AT = {"station": "lin-an"}
LAST = "last_message_timestamp_seconds"
CASES = {
    # Two workers know of the station; the one that heard it last counts.
    "StationSilent": Case(
        of(LAST, "0x60") | of(LAST, "60x60", worker="b"),
        of(LAST, "0x60") | of(LAST, "0+60x60", worker="b"),
        22, 21, "lin-an: nothing has come for 21m 0s", AT,
    ),
    "StationSilentForADay": Case(
        of(LAST, f"0x{DAY + 10}"), of(LAST, f"0+60x{DAY + 10}"), DAY + 1, DAY,
        "lin-an: nothing has come for 1d 0h 1m 0s", AT
    ),
    "StationNeverHeard": Case(
        of("known", f"1x{DAY + 10}"), of("known", f"1x{DAY + 10}") | of(LAST, f"0x{DAY + 10}", worker="b"),
        DAY, DAY - 1, "lin-an: is in the catalogue, and nothing has ever come", AT,
    ),
    "StationNotReading": Case(
        of("reading", "1x4 0x30"), of("reading", "1x30"), 15, 14,
        "lin-an: its instruments are not read (quota reached, or its disk)", AT,
    ),
    "StationBehind": Case(
        of("lag_seconds", "7200x60"), of("lag_seconds", "3600x60"), 30, 29, "lin-an: what comes is 2h 0m 0s old", AT
    ),
    "StationLosesReadings": Case(
        of("lost_samples", "5x60 125x60"), of("lost_samples", "125x120"), 61, 60,
        "lin-an: gave up 120 samples within an hour for its quota", AT,
    ),
    "StationSpoolFilling": Case(
        of("spool_used_bytes", "85x60") | of("spool_quota_bytes", "100x60"),
        of("spool_used_bytes", "80x60") | of("spool_quota_bytes", "100x60"),
        30, 29, "lin-an: its spool is 85% full", AT,
    ),
    "StationClockOff": Case(
        of("clock_offset_seconds", "-2.5x60"), of("clock_offset_seconds", "1.9x60"), 30, 29,
        "lin-an: its clock is 2.5 s off", AT,
    ),
    "StationDiskFilling": Case(
        of("disk_free_bytes", "104857600x60"), of("disk_free_bytes", "1073741824x60"), 30, 29,
        "lin-an: 100MiB are free where its spool lies", AT,
    ),
    # One of two workers is enough.
    "IngestGone": Case(
        ingest("ingest_connected", "1x4 0x30", 'instance="a"'),
        ingest("ingest_connected", "0x30", 'instance="a"') | ingest("ingest_connected", "1x30", 'instance="b"'),
        7, 6, "No ingest worker is connected to the broker",
    ),
    "WorkerGone": Case(
        {'up{job="skyledger",instance="ingest:9464"}': "1x4 0x30"},
        {'up{job="skyledger",instance="ingest:9464"}': "1x30"},
        10, 9, "Worker ingest:9464 does not answer", {"job": "skyledger", "instance": "ingest:9464"},
    ),
    "DatabaseGone": Case(
        ingest("database_up", "0x30", 'instance="a"'),
        ingest("database_up", "0x30", 'instance="a"') | ingest("database_up", "1x30", 'instance="b"'),
        2, 1, "The database does not answer",
    ),
    "IngestBehind": Case(
        ingest("ingest_oldest_unacknowledged_seconds", "0x4 60+60x30"),
        ingest("ingest_oldest_unacknowledged_seconds", "60x30"),
        11, 10, "Messages wait 7m 0s to be written",
    ),
    "MessagesKeptAside": Case(
        ingest("aside_messages", "3x30", 'station="lin-an"'), ingest("aside_messages", "0x30", 'station="lin-an"'),
        15, 14, "lin-an: 3 messages are kept aside", AT,
    ),
    "MessagesRefused": Case(
        ingest("ingest_messages_total", "0x4 0+1x30", 'outcome="refused"')
        | ingest("ingest_messages_total", "0+5x30", 'outcome="stored"'),
        ingest("ingest_messages_total", "7x30", 'outcome="refused"')
        | ingest("ingest_messages_total", "0+5x30", 'outcome="stored"'),
        10, 4, "A station has its quota kept aside: more of it is not taken",
    ),
    "ValuesKeptAside": Case(
        ingest("ingest_rows_total", "0+1x120", 'fate="aside"') | ingest("ingest_rows_total", "0+9x120", 'fate="new"'),
        ingest("ingest_rows_total", "4x120", 'fate="aside"') | ingest("ingest_rows_total", "0+9x120", 'fate="same"'),
        70, 0, "60 values differ from what was stored for their time, within an hour",
    ),
    "JobStopped": Case(
        ingest("feed_moved_timestamp_seconds", "0x90", 'consumer="qc"'),
        ingest("feed_moved_timestamp_seconds", "0+60x90", 'consumer="qc"')  # somebody's notebook may stop
        | ingest("feed_moved_timestamp_seconds", "0x90", 'consumer="notebook"'),
        71, 70, "Job qc has not looked for what is new for 1h 11m 0s", {"consumer": "qc"},
    ),
    "JobNeverRun": Case(
        ingest("database_up", "1x70") | ingest("feed_behind_messages", "5x70", 'consumer="screens"'),
        ingest("database_up", "1x70") | ingest("feed_behind_messages", "0x70", 'consumer="qc"'),
        60, 59, "Quality control has never run on this database",
    ),
    "JobBehind": Case(
        ingest("feed_behind_messages", "60000x40", 'consumer="qc"'),
        ingest("feed_behind_messages", "50000x40", 'consumer="qc"'),
        30, 29, "Job qc has 60000 messages to look at", {"consumer": "qc"},
    ),
    "NobodyIsTold": Case(
        {'up{job="alertmanager",instance="a"}': "0x30"}, {'up{job="alertmanager",instance="a"}': "1x30"},
        5, 4, "The alertmanager does not answer: nobody is told of anything", {"job": "alertmanager", "instance": "a"},
    ),
    "MailFails": Case(
        {'alertmanager_notifications_failed_total{integration="email"}': "0+1x40"},
        {'alertmanager_notifications_failed_total{integration="email"}': "7x40"},
        11, 10, "The alertmanager cannot send email", {"integration": "email"},
    ),
    "Watching": Case({}, {}, 0, None, "Always there: where it is missing, nobody watches"),
}  # fmt: skip


def test_every_alert_has_its_case():
    assert set(CASES) == set(RULES)


def series(values):
    return [{"series": name, "values": text} for name, text in values.items()]


def asked(alert, minute, expected):
    return {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": expected}


def judged(promtool, folder, tests):
    shutil.copy(FOLDER / "skyledger.rules.yml", folder)
    document = {"rule_files": ["skyledger.rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (folder / "tests.yml").write_text(yaml.safe_dump(document))
    return ran(promtool, "test", "rules", folder / "tests.yml")


def rounds(alert):
    case, rule = CASES[alert], RULES[alert]
    fired = {
        "exp_labels": {**rule["labels"], **case.labels},
        "exp_annotations": {"summary": case.says, "do": rule["annotations"]["do"]},
    }
    quiet = [] if case.not_yet is None else [asked(alert, case.not_yet, [])]
    sick = {"interval": "1m", "input_series": series(case.sick)}
    sick["alert_rule_test"] = [*quiet, asked(alert, case.fires, [fired])]
    well = {"interval": "1m", "input_series": series(case.well)}
    well["alert_rule_test"] = [asked(alert, minute, []) for minute in (0, case.fires // 2, case.fires, case.fires + 5)]
    return [sick, *([well] if case.not_yet is not None else [])]


@pytest.mark.parametrize("alert", CASES)
def test_it_fires_when_it_must_and_is_silent_when_not(promtool, tmp_path, alert):
    done = judged(promtool, tmp_path, rounds(alert))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_test_of_an_alert_can_fail(promtool, tmp_path):
    (sick, well) = rounds("StationSilent")
    assert judged(promtool, tmp_path, [{**sick, "input_series": well["input_series"]}]).returncode == 1
    assert judged(promtool, tmp_path, [{**well, "input_series": sick["input_series"]}]).returncode == 1


WELL = {
    **of(LAST, "0+60x1500"), **of("known", "1x1500"), **of("reading", "1x1500"), **of("online", "1x1500"),
    **of("lag_seconds", "40x1500"), **of("lost_samples", "0x1500"), **of("spool_used_bytes", "1x1500"),
    **of("spool_quota_bytes", "100x1500"), **of("clock_offset_seconds", "0.001x1500"),
    **of("disk_free_bytes", "5e10x1500"), **ingest("ingest_connected", "1x1500"), **ingest("database_up", "1x1500"),
    **ingest("ingest_oldest_unacknowledged_seconds", "0.2x1500"),
    **ingest("ingest_messages_total", "0+1x1500", 'outcome="stored"'),
    **ingest("ingest_messages_total", "0x1500", 'outcome="refused"'),
    **ingest("ingest_rows_total", "0+60x1500", 'fate="new"'), **ingest("ingest_rows_total", "0x1500", 'fate="aside"'),
    **ingest("feed_behind_messages", "3x1500", 'consumer="qc"'),
    **ingest("feed_moved_timestamp_seconds", "0+60x1500", 'consumer="qc"'),
    'alertmanager_notifications_failed_total{integration="email"}': "3x1500",
    'up{job="skyledger",instance="ingest:9464"}': "1x1500", 'up{job="alertmanager",instance="a"}': "1x1500",
}  # fmt: skip


def test_of_a_network_that_is_well_nothing_is_said(promtool, tmp_path):
    others = 'count(ALERTS{alertname!="Watching"})'
    times = [{"expr": others, "eval_time": f"{minute}m", "exp_samples": []} for minute in range(0, 1500, 50)]
    done = judged(promtool, tmp_path, [{"interval": "1m", "input_series": series(WELL), "promql_expr_test": times}])
    assert done.returncode == 0, done.stdout + done.stderr
