import json

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from station_agent import pushed
from station_agent.config import read_config, try_pushed
from tests.station_agent.conftest import wait_until
from tests.station_agent.picarro_text import text
from tests.station_agent.test_agent import expected

TOPIC = "skyledger/v1/lin-an/config"


def message(changes, name="a"):
    return json.dumps({"v": 1, "id": name, "changes": changes}).encode()


@pytest.fixture
def push(mosquitto):
    """Publish a retained configuration, as an operator does."""

    def push(payload):
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.connect(mosquitto.host, mosquitto.port)
        client.loop_start()
        client.publish(TOPIC, payload, qos=1, retain=True).wait_for_publish(10)
        client.disconnect()
        client.loop_stop()

    return push


def beats(receiver):
    return [status for status in map(json.loads, receiver.statuses) if status["state"] == "online"]


def test_a_pushed_configuration_is_put_in_force_without_losing_anything(station, receiver, push, ended):
    station.configure(samples=5, extra="[health]\nheartbeat = 1.0")
    path = station.data / "DataLog_1.dat"
    path.write_text(text(0, 50))
    before = read_config(station.file).digest
    agent = station.start("run")
    wait_until(lambda: beats(receiver))
    assert beats(receiver)[0]["config"] == before
    push(message({"batch": {"samples": 20}, "instrument": {"g2301": {"poll": 0.1}}}))
    wait_until(lambda: beats(receiver)[-1]["config_pushed"] == "a", what="the new configuration")
    config = read_config(station.file)
    assert (config.batch.samples, config.instruments[0].poll) == (20, 0.1)
    assert beats(receiver)[-1]["config"] == config.digest != before
    with path.open("a") as file:
        file.write("".join(text(50, 150).splitlines(keepends=True)[1:]))
    wait_until(lambda: receiver.readings == expected(path), what="delivery of what came after it")
    assert max(len(batch.t) for batch in receiver.batches) == 20
    assert receiver.conflicts == []
    assert [event.event for event in receiver.events] == ["config_applied"]
    code, said = ended(agent)
    assert (code, said.count("it is put in force")) == (0, 1)


def test_the_same_message_again_changes_nothing(station, receiver, push, mosquitto, ended):
    station.configure(extra="[health]\nheartbeat = 1.0")
    payload = message({"batch": {"samples": 20}})
    push(payload)
    agent = station.start("run")
    wait_until(lambda: any(beat["config_pushed"] == "a" for beat in beats(receiver)))
    seen = len(beats(receiver))
    push(payload)
    mosquitto.kill()
    mosquitto.start()
    push(payload)
    wait_until(lambda: len(beats(receiver)) >= seen + 3, what="heartbeats after the broker came back")
    code, said = ended(agent)
    assert (code, said.count("it is put in force")) == (0, 1)
    assert not (station.folder / "spool.db.config.previous").exists()
    assert (station.folder / "spool.db.config").read_bytes() == payload


def test_a_bad_one_is_refused_with_every_fault_and_the_old_one_stays(station, receiver, push, ended):
    station.configure(extra="[health]\nheartbeat = 1.0")
    agent = station.start("run")
    wait_until(lambda: beats(receiver))
    push(message({"batch": {"samples": 30}}, "good"))
    wait_until(lambda: beats(receiver)[-1]["config_pushed"] == "good")
    bad = message({"broker": {"host": "elsewhere"}, "batch": {"samples": 0}}, "bad")
    push(bad)
    wait_until(lambda: (beats(receiver)[-1]["config_refused"] or {}).get("id") == "bad", what="the refusal")
    push(bad)
    wait_until(lambda: any(event.event == "config_refused" for event in receiver.events))
    (event,) = (event for event in receiver.events if event.event == "config_refused")
    assert event.detail["faults"] == [
        "broker: may not be changed from the server, only batch, health, instrument may",
        "batch.samples: got 0, expected a whole number, 1 to 10000",
    ]
    assert read_config(station.file).batch.samples == 30
    push(message({}, "back"))
    wait_until(lambda: beats(receiver)[-1]["config_pushed"] == "back")
    assert (read_config(station.file).batch.samples, beats(receiver)[-1]["config_refused"]) == (60, None)
    assert json.loads((station.folder / "spool.db.config.previous").read_bytes())["id"] == "good"
    assert ended(agent)[0] == 0
    assert sum(event.event == "config_refused" for event in receiver.events) == 1


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"", "the message is not JSON"),
        (b"[" * 100_000, "the message has 100000 bytes, at most 65536 are read"),
        (b"[" * 60_000, "the message is not JSON"),
        (b"\xff", "the message is not JSON"),
        (b'{"v": 2}', "the message is not of version 1"),
        (b'{"v": 1, "id": "a", "changes": {}, "x": 1}', "x: unknown key"),
        (b'{"v": 1, "id": "a b", "changes": 3}', "id: expected a text"),
        (b'{"v": 1, "id": "a", "changes": {"batch": {"seconds": NaN}}}', "NaN is no number"),
        (message({"station": "x"}), "station: may not be changed"),
        (message({"spool": {"path": "x"}}), "spool: may not be changed"),
        (message({"broker": {"tls": {}}}), "broker: may not be changed"),
        (message({"health": {"textfile": "/etc/passwd"}}), "health.textfile: may not be changed"),
        (message({"instrument": {"g2301": {"path": "/etc/*"}}}), "instrument.g2301.path: may not be changed"),
        (message({"instrument": {"g2301": {"tcp": "x:1"}}}), "instrument.g2301.tcp: may not be changed"),
        (message({"instrument": {"g2301": {"serial": "x"}}}), "instrument.g2301.serial: may not be changed"),
        (message({"instrument": {"g2401": {"poll": 1}}}), "there is no such instrument, there are g2301"),
        (message({"instrument": {"g2301": {"pol": 1}}}), "instrument[1].pol: unknown key"),
        (message({"instrument": []}), "instrument: expected a table"),
    ],
)
def test_what_may_not_be_pushed(station, payload, fault):
    _, faults = try_pushed(read_config(station.file), payload)
    assert any(fault in said for said in faults), faults


def test_what_no_longer_fits_the_stations_file_is_left_out_and_said(station):
    config = read_config(station.file)
    pushed.keep(config.spool.path, message({"instrument": {"g2301": {"poll": 5}}, "batch": {"samples": 7}}))
    assert read_config(station.file).batch.samples == 7
    station.file.write_text(station.file.read_text().replace('"g2301"', '"g2401"'))
    config = read_config(station.file)
    assert (config.batch.samples, config.pushed.id) == (60, None)
    assert config.pushed.refused["faults"] == ["instrument.g2301: there is no such instrument, there are g2401"]


def test_what_is_kept_is_the_owners_and_damage_to_it_stops_nothing(station):
    spool = read_config(station.file).spool.path
    pushed.keep(spool, message({"batch": {"samples": 7}}))
    assert pushed.kept_path(spool).stat().st_mode & 0o777 == 0o600
    pushed.kept_path(spool).write_bytes(b"\0" * 100)
    spool.with_name("spool.db.config.refused").write_bytes(b"\0")
    config = read_config(station.file)
    assert config.batch.samples == 60
    assert "not JSON" in config.pushed.refused["faults"][0]


def test_a_replay_takes_no_configuration(station, receiver, push):
    push(message({"batch": {"samples": 5}}))
    path = station.data / "DataLog_1.dat"
    path.write_text(text(0, 50))
    assert station.call("replay", "--instrument", "g2301", path)[0] == 0
    assert receiver.readings == expected(path)
    assert not pushed.kept_path(station.folder / "spool.db").exists()


def test_check_says_what_is_in_force_and_what_was_refused(station):
    spool = read_config(station.file).spool.path
    pushed.keep(spool, message({"batch": {"samples": 7}}, "slower"))
    pushed.keep_refusal(spool, b"x", "bad", ["batch.samples: got 0"], against="")
    code, said, _ = station.call("check")
    assert code == 0
    assert f"with the changes slower that the server has pushed ({spool}.config)" in said
    assert "note: changes bad that the server pushed were refused: batch.samples: got 0" in said
