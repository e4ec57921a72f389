"""Grafana's files: to its own types, to what it needs, and every query of them executed where there are data."""

import itertools
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
import pytest
import yaml
from psycopg import conninfo

from deploy.demo.network import SITES
from deploy.demo.run import STACK
from deploy.local.stack import Stack
from ingest import read
from ingest.database import connect
from ingest.roles import Role, user
from qc.flags import Cause
from tests.deploy.test_compose import SERVICES
from tests.deploy.test_dask_files import checks
from tests.deploy.watched import STATION, watched
from tests.path.network import until
from tests.servers import throwaway_folder

__all__ = ["checks"]

FOLDER = Path(__file__).parents[2] / "deploy/grafana"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / "dashboards").glob("*.json"))}
SOURCES = {
    source["uid"]: source
    for path in (FOLDER / "datasources").glob("*.yaml")
    for source in yaml.safe_load(path.read_text())["datasources"]
}
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in board["panels"] if panel["type"] != "row"]
OWN = {"grafana"}
"""Grafana's own source of annotations."""
HELD = """
import glob, json, sys
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

plugins.register_default_plugins()
UNITS = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}

def lost(given, kept, path):  # what Grafana's types do not know is not in what they write
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from lost(value, kept[key], f"{path}.{key}") if key in kept else [f"{path}.{key}"]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for k, (one, other) in enumerate(zip(given, kept)):
            yield from lost(one, other, f"{path}[{k}]")
    elif given != kept:
        yield path

def wrong_units(node, path):
    if isinstance(node, dict):
        unit = node.get("unit") or (node.get("value") if node.get("id") == "unit" else None)
        if unit is not None and unit not in UNITS:
            yield f"{path}: unit {unit}"
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from wrong_units(value, f"{path}.{key}")

for line in sys.stdin:
    given = json.loads(line)
    kept = json.loads(json.dumps(Dashboard.from_json(given), cls=JSONEncoder))
    print(json.dumps([*lost(given, kept, given["uid"]), *wrong_units(given, given["uid"])]))
"""


# --- what Grafana's own types say ---------------------------------------------------------------------


def held(checks, boards):
    text = "".join(json.dumps(board) + "\n" for board in boards)
    done = subprocess.run([checks / "python", "-c", HELD], input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_key_is_one_of_grafanas_types_and_every_unit_one_of_its_units(checks):
    for said in held(checks, BOARDS.values()):
        # A query of an annotation belongs to its source, which these types do not know.
        assert [path for path in said if not re.search(r"annotations\.list\[\d\]\.target\.", path)] == []


def test_what_is_misspelt_is_found(checks):
    board = json.loads(json.dumps(BOARDS["ingest"]))
    board["refrehs"] = "1m"
    board["panels"][1]["gridpos"] = board["panels"][1]["gridPos"]
    board["panels"][2]["fieldConfig"]["defaults"]["unit"] = "second"
    board["panels"][3]["options"]["colourMode"] = "background"
    (said,) = held(checks, [board])
    assert [path.partition(".")[2] for path in said] == [
        "panels[1].gridpos", "panels[3].options.colourMode", "refrehs", "panels.2.fieldConfig.defaults: unit second",
    ]  # fmt: skip


# --- what it needs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_can_be_loaded(name):
    board = BOARDS[name]
    assert board["uid"] == f"skyledger-{name}"
    assert len(board["uid"]) <= 40
    assert board["schemaVersion"] == 41, "Grafana 12.0"
    assert "id" not in board
    assert (board["editable"], board["timezone"]) == (False, "utc")
    numbers = [panel["id"] for panel in board["panels"]]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    titles = [panel["title"] for panel in board["panels"]]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", BOARDS)
def test_no_panel_lies_on_another(name):
    taken = {}
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        assert at["w"] > 0 < at["h"]
        assert 0 <= at["x"] <= at["x"] + at["w"] <= 24
        for cell in itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])):
            assert taken.setdefault(cell, panel["title"]) == panel["title"]


@pytest.mark.parametrize("panel", [panel for _, panel in PANELS], ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_is_and_asks_a_source_there_is(panel):
    assert panel["description"].endswith((".", "`"))
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references) > 0
    for asker in (panel, *panel["targets"]):
        assert asker["datasource"]["type"] == SOURCES[asker["datasource"]["uid"]]["type"]
    values = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    assert values[0] is None
    assert values[1:] == sorted(values[1:])


def sources(node):
    """Every datasource something refers to."""
    if isinstance(node, dict):
        found = [node["datasource"]] if isinstance(node.get("datasource"), dict) else []
        return found + [one for value in node.values() for one in sources(value)]
    return [one for value in node for one in sources(value)] if isinstance(node, list) else []


@pytest.mark.parametrize("name", BOARDS)
def test_sources_variables_and_pages_it_refers_to_are_there(name):
    board = BOARDS[name]
    text = json.dumps(board)
    for source in sources(board):
        assert source["type"] in OWN or SOURCES[source["uid"]]["type"] == source["type"]
    known = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(?!__)(\w+)", text))
    assert used == known
    for uid in re.findall(r"/d/([\w-]+)", text):
        assert uid in {other["uid"] for other in BOARDS.values()}
    for page, variable in re.findall(r"/d/skyledger-(\w+)\?var-(\w+)=", text):
        assert variable in {one["name"] for one in BOARDS[page]["templating"]["list"]}


def statements(board):
    """Every SQL of a dashboard: panels, variables, annotations."""
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            if "rawSql" in target:
                yield panel["title"], target["rawSql"], target["format"]
    for variable in board["templating"]["list"]:
        yield f"variable {variable['name']}", variable["query"], "table"
    for annotation in board["annotations"]["list"]:
        if "target" in annotation:
            yield f"annotation {annotation['name']}", annotation["target"]["rawSql"], "table"


STATEMENTS = [(name, *found) for name, board in BOARDS.items() for found in statements(board)]


@pytest.mark.parametrize("text", [text for _, _, text, _ in STATEMENTS], ids=[title for _, title, *_ in STATEMENTS])
def test_what_a_viewer_chooses_is_quoted(text):
    """A value of a variable stands in an address anybody can send: it is never pasted into SQL as it is."""
    assert not re.findall(r"\$\{?(?!__)\w+(?!\w|:sqlstring\})", text)
    assert not re.search(r"(?i)\b(insert|update|delete|drop|copy|create|alter|grant)\b", text)


def test_files_are_where_the_container_looks_and_its_environment_says_what_they_ask():
    grafana = SERVICES["grafana"]
    assert "./grafana:/etc/grafana/provisioning:ro" in grafana["volumes"]
    (provider,) = yaml.safe_load((FOLDER / "dashboards/skyledger.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (FOLDER / Path(home).relative_to("/etc/grafana/provisioning")).exists()
    text = (FOLDER / "datasources/skyledger.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+)\}", text))
    assert asked == {name for name in grafana["environment"] if name.startswith("SKYLEDGER_")}
    assert {f"/run/secrets/{secret}" for secret in grafana["secrets"]} >= set(re.findall(r"\$__file\{(.*)\}", text))
    assert grafana["environment"]["SKYLEDGER_AUTHORITY"] in {f"/run/secrets/{one}" for one in grafana["secrets"]}
    for variable in ("PROMETHEUS", "ALERTMANAGER", "DATABASE"):
        address = grafana["environment"][f"SKYLEDGER_{variable}"]
        assert re.fullmatch(r"(?:http://)?(\w+):\d+", address)[1] in SERVICES


SOURCE_KEYS = {
    "name", "uid", "type", "access", "url", "user", "isDefault", "editable", "jsonData", "secureJsonData",
}  # fmt: skip
JSON_KEYS = {
    "prometheus": {"httpMethod", "timeInterval", "manageAlerts", "alertmanagerUid"},
    "alertmanager": {"implementation", "handleGrafanaManagedAlerts"},
    "grafana-postgresql-datasource": {
        "database", "sslmode", "tlsConfigurationMethod", "sslRootCertFile", "postgresVersion", "timescaledb",
        "maxOpenConns", "maxIdleConns", "connMaxLifetime",
    },
}  # fmt: skip
PROVIDER_KEYS = {
    "name", "orgId", "folder", "type", "disableDeletion", "allowUiUpdates", "updateIntervalSeconds", "options",
}  # fmt: skip


def test_what_is_provisioned_has_the_keys_grafana_documents():
    for source in SOURCES.values():
        assert set(source) <= SOURCE_KEYS
        assert {"name", "uid", "type", "access", "url"} <= set(source)
        assert set(source["jsonData"]) <= JSON_KEYS[source["type"]]
    assert [source["name"] for source in SOURCES.values() if source.get("isDefault")] == ["Prometheus"]
    assert SOURCES["skyledger-prometheus"]["jsonData"]["alertmanagerUid"] in SOURCES
    for path in FOLDER.rglob("*.yaml"):
        document = yaml.safe_load(path.read_text())
        assert document.pop("apiVersion") == 1
        assert set(document) <= {"datasources", "providers"}
        for provider in document.get("providers", ()):
            assert set(provider) == PROVIDER_KEYS
            assert set(provider["options"]) == {"path", "foldersFromFilesStructure"}


def test_the_database_is_reached_over_tls_alone_as_a_reader():
    source = SOURCES["skyledger-postgresql"]
    assert source["jsonData"]["sslmode"] == "verify-full"
    assert source["jsonData"]["sslRootCertFile"] == "${SKYLEDGER_AUTHORITY}"
    head = (FOLDER.parent / "compose.yaml").read_text().partition("\nname:")[0]
    assert f"db user {SERVICES['grafana']['environment']['SKYLEDGER_DATABASE_USER']} --role reader" in head
    assert set(source["secureJsonData"]) == {"password"}
    assert all(one["editable"] is False for one in SOURCES.values())


def test_the_tests_named_are_those_of_quality_control():
    (text,) = {t for _, title, t, _ in STATEMENTS if title == "Tests that found something"}
    assert {int(bit) for bit in re.findall(r"\((\d+), '", text)} == {int(cause) for cause in Cause}


# --- every query, where there are data ----------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    with watched() as one:
        yield one


def quoted(values):
    return ",".join("'" + str(value).replace("'", "''") + "'" for value in values)


def expanded(text, values, span):
    """Return SQL as Grafana sends it: its macros and the variables of the dashboard."""
    first, last = (f"'{moment:%Y-%m-%dT%H:%M:%SZ}'" for moment in span)
    text = re.sub(r"\$__timeFilter\(([\w.]+)\)", rf"\1 BETWEEN {first} AND {last}", text)
    text = text.replace("$__timeFrom()", first).replace("$__timeTo()", last)
    return re.sub(r"\$\{(\w+):sqlstring\}", lambda found: quoted(values[found[1]]), text)


def chosen(ask, board, span, **fixed):
    """Return what is chosen when a dashboard is opened: the first of each variable, or all where it says so."""
    values = {}
    for variable in board["templating"]["list"]:
        found = ask(expanded(variable["query"], values, span))
        assert found, variable["name"]
        rows = [row["__value"] if "__value" in row else next(iter(row.values())) for row in found]
        values[variable["name"]] = rows if variable["includeAll"] else rows[:1]
        if variable["name"] in fixed:
            assert fixed[variable["name"]] in rows
            values[variable["name"]] = [fixed[variable["name"]]]
    return values


def asker(dsn):
    """Return how SQL is asked: on a connection of a reader, rows as dictionaries."""

    def ask(text):
        with psycopg.connect(dsn, row_factory=psycopg.rows.dict_row) as conn:
            return conn.execute(text).fetchall()

    return ask


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "title", "text", "shape"), STATEMENTS, ids=lambda value: str(value)[:40])
def test_sql_returns_rows_to_a_reader(network, name, title, text, shape):
    ask, span = asker(network.dsn("grafana")), (network.start, network.end)
    fixed = {"station": STATION} if name == "station" else {}
    found = ask(expanded(text, chosen(ask, BOARDS[name], span, **fixed), span))
    assert found
    if shape == "time_series":
        assert all(set(row) == {"time", "metric", "value"} for row in found)
        assert all(isinstance(row["metric"], str) and isinstance(row["value"], float) for row in found)
        assert [row["time"] for row in found] == sorted(row["time"] for row in found)
    elif title.startswith("annotation"):
        assert all({"time", "text"} <= set(row) for row in found)


@pytest.mark.parametrize("gas", ["co2", "ch4"])
def test_hours_shown_are_those_everybody_else_reads(network, gas):
    ask, span = asker(network.dsn("grafana")), (network.start, network.end)
    text = next(t for name, title, t, _ in STATEMENTS if title == gas.upper())
    found = ask(expanded(text, {"station": [STATION], "inlet": ["50m"]}, span))
    ds = read.hourly(network.dsn("grafana"), station=STATION, inlet="50m", species=[gas])
    there = ~np.isnan(ds[gas].values)
    starts = ds["time_bnds"].values[there, 0].astype("datetime64[us]")
    assert [row["time"].replace(tzinfo=None) for row in found] == starts.tolist()
    np.testing.assert_array_equal([row["value"] for row in found], ds[gas].values[there])
    flags = {"50m": 1, "50m not evaluated": 2, "50m suspect": 3, "50m bad": 4}
    assert [flags[row["metric"]] for row in found] == ds[f"{gas}_flag"].values[there].tolist()
    assert {1, 3} <= set(ds[f"{gas}_flag"].values), (ds[f"{gas}_flag"].values, ds[f"{gas}_cause"].values)


EXPRESSIONS = [
    (name, panel["title"], target["expr"])
    for name, panel in PANELS
    for target in panel["targets"]
    if "expr" in target
]  # fmt: skip


def as_grafana_asks(expression):
    for macro, value in {"$__rate_interval": "60s", "$__range": "6h", "$station": STATION}.items():
        expression = expression.replace(macro, value)
    assert "$" not in expression
    return expression


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "title", "expression"), EXPRESSIONS, ids=lambda value: str(value)[:60])
def test_promql_returns_values(network, name, title, expression):
    query = as_grafana_asks(expression)
    if "clock_offset" in query and name == "station":
        query = query.replace(STATION, "wuhan")  # whether this machine's clock is kept is not ours to say

    def answered():
        network.send()
        return [value for _, value in network.ask(query) if value == value]  # noqa: PLR0124 NaN is none

    assert until(answered, f"{title}: {query} returns something")


def test_what_is_named_is_on_the_workers_page(network):
    page = network.page()
    there = set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE)) | set(re.findall(r"^(\w+)[{ ]", page, re.MULTILINE))
    rules = (FOLDER.parent / "prometheus/skyledger.rules.yml").read_text()
    used = set(re.findall(r"\bskyledger_\w+", "\n".join([rules, *(expression for *_, expression in EXPRESSIONS)])))
    assert len(used) > 20
    assert used <= there


def test_a_station_nobody_heard_is_counted_as_silent(network):
    (expression,) = (e for _, title, e in EXPRESSIONS if title == "Silent")
    network.send()
    assert until(lambda: network.ask(expression) == [({}, 1.0)], "xuzhou alone is silent")


# --- the demonstration's data -------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_on_the_demos_data_every_query_returns_rows():
    with throwaway_folder() as folder:
        command = [sys.executable, "-m", "deploy", "demo", "--days", "2", "--keep-database", "--directory"]
        done = subprocess.run([*command, str(folder / "demo")], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        with Stack(folder / "demo" / STACK) as stack:
            with connect(stack.dsn) as conn:
                user(conn, "grafana", Role.READER, connections=5)
            ask = asker(conninfo.make_conninfo(stack.dsn, options="-c role=grafana"))
            span = datetime(2025, 6, 30, tzinfo=UTC), datetime(2025, 7, 5, tzinfo=UTC)
            found = set()
            for name, title, text, _ in STATEMENTS:
                for fixed in [{"station": site.name} for site in SITES] if name == "station" else [{}]:
                    if ask(expanded(text, chosen(ask, BOARDS[name], span, **fixed), span)):
                        found.add(title)
                        break
    assert {title for _, title, *_ in STATEMENTS} == found
