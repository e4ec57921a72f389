import pytest

from station_agent.__main__ import main
from station_agent.config import read_config
from station_agent.errors import ConfigError

GOOD = """
station = "lin-an"
[broker]
host = "127.0.0.1"
[[instrument]]
name = "g2301"
driver = "picarro"
path = "data/DataLog_User_*.dat"
"""


def write(folder, text):
    file = folder / "agent.toml"
    file.write_text(text)
    return file


def faults(folder, text):
    """Return the faults of a configuration, without the file's name before each."""
    file = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        read_config(file)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines)
    return [line.removeprefix(f"{file}: ") for line in lines]


def test_defaults_and_paths_relative_to_the_file(tmp_path):
    config = read_config(write(tmp_path, GOOD))
    assert (config.station, config.broker.port, config.broker.tls) == ("lin-an", 1883, None)
    assert (config.batch.samples, config.batch.seconds, config.batch.max_inflight) == (60, 60.0, 20)
    assert config.spool.path == tmp_path / "spool.db"
    assert config.spool.quota == 2_000_000_000
    assert config.instruments[0].path == str(tmp_path / "data/DataLog_User_*.dat")


def test_tls_changes_the_port(tmp_path):
    (tmp_path / "ca.pem").write_text("")
    broker = read_config(write(tmp_path, GOOD.replace("[[", '[broker.tls]\nca = "ca.pem"\n[[', 1))).broker
    assert (broker.port, broker.tls.ca) == (8883, tmp_path / "ca.pem")


def test_every_fault_is_named_at_once(tmp_path):
    text = """
    station = "Lin An"
    statoin = "x"
    [broker]
    host = ""
    port = 70000
    keepalive = true
    pasword = "x"
    [broker.tls]
    ca = "none.pem"
    key = "none.key"
    [batch]
    samples = "60"
    seconds = 0
    [[instrument]]
    name = "g2301"
    driver = "picaro"
    path = "x"
    [[instrument]]
    name = "g2301"
    driver = "picarro"
    colour = "red"
    [[instrument]]
    name = "sim"
    driver = "simulated"
    path = "x"
    seed = 1.5
    """
    name_rule = "expected 1 to 63 of a-z, 0-9, '_' and '-', starting with a letter or digit; rename it"
    assert faults(tmp_path, text) == [
        "statoin: unknown key, did you mean 'station'?",
        f"station 'Lin An' is not a valid name: {name_rule}",
        "batch.samples: got '60', expected a whole number",
        "batch.seconds: got 0, expected a number, 0.1 to 86400.0",
        "broker.host: got '', expected a text that is not empty",
        "broker.port: got 70000, expected a whole number, 1 to 65535",
        "broker.keepalive: got True, expected a whole number",
        "broker.pasword: unknown key, did you mean 'password'?",
        f"broker.tls.ca: {tmp_path}/none.pem is no file",
        f"broker.tls.key: {tmp_path}/none.key is no file",
        "broker.tls.cert: missing, a key needs its certificate",
        "instrument[1].driver: got 'picaro', did you mean 'picarro'?",
        "instrument[2].name: 'g2301' is the name of another instrument too",
        "instrument[2].path: missing, driver 'picarro' reads files; or say tcp or serial to read it live",
        "instrument[2].colour: unknown key, did you mean 'columns'?",
        "instrument[3].path: driver 'simulated' reads no files, leave it out",
        "instrument[3].seed: got 1.5, expected a whole number",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "station: missing"),
        ("station = ", "is not TOML: Invalid value (at end of document)"),
        (GOOD.replace("[broker]", "[[broker]]"), "broker: got a list of 1, expected a table"),
        ("instrument = 3" + GOOD.split("[[", maxsplit=1)[0], "instrument: got 3, expected a list"),
        ("instrument = [3]" + GOOD.split("[[", maxsplit=1)[0], "instrument[1]: expected a table: [[instrument]]"),
    ],
)
def test_a_file_of_another_shape(tmp_path, text, fault):
    assert fault in faults(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert main(["check", "--config", str(tmp_path / "none.toml")]) == 1
    assert capsys.readouterr().err == f"{tmp_path}/none.toml: cannot be read: No such file or directory\n"


def test_check_says_what_the_configuration_means(tmp_path, shared, capsys):
    file = write(tmp_path, GOOD.replace("data/DataLog_User_*", str(shared / "data/instruments/*")))
    assert main(["check", "--config", str(file)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{file}: no faults"
    assert said[2].startswith("instrument g2301 (picarro): 4 file(s), last")


CAMPBELL = """
[[instrument]]
name = "logger"
driver = "campbell"
path = "*.dat"
time_zone = "UTC"
columns = [{ name = "AirTC", quantity = "ambient_temperature", unit = "degC" }]
"""
TOA5 = (
    '"TOA5","a","CR1000","1","2","3","4","Table"\n"TIMESTAMP","RECORD","AirTC_Avg"\n"TS","RN","Deg C"\n"","","Avg"\n'
    '"2026-01-01 00:00:00",0,5.5\n"2026-01-01 00:01:00",1,5.6\n'
)


def test_check_reads_the_newest_file_as_configured(tmp_path, capsys):
    """A column that the file does not have is found before a day's lines are kept aside for it."""
    (tmp_path / "a.dat").write_text(TOA5)
    file = write(tmp_path, GOOD + CAMPBELL)
    assert main(["check", "--config", str(file)]) == 0
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("instrument logger")]
    assert "note: of its first 6 lines 5 cannot be read, line 2: " in said
    assert "AirTC" in said
    file = write(tmp_path, GOOD + CAMPBELL.replace('"AirTC"', '"AirTC_Avg"'))
    assert main(["check", "--config", str(file)]) == 0
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("instrument logger")]
    assert "note" not in said
    (tmp_path / "a.dat").write_text("".join(TOA5.splitlines(keepends=True)[:4]))
    assert main(["check", "--config", str(file)]) == 0
    assert "nothing in its first lines is a reading yet" in capsys.readouterr().out


# --- secrets ---------------------------------------------------------------------------------

USER = GOOD.replace("[[", 'username = "lin-an"\n[[', 1)


def test_a_password_in_a_file_others_can_read_is_refused(tmp_path):
    text = USER.replace("[[", 'password = "x"\n[[', 1)
    file = write(tmp_path, text)
    file.chmod(0o644)
    fault = f"broker.password: a file with a password is open to every user (mode 0644); do: chmod 600 {file}"
    with pytest.raises(ConfigError) as caught:
        read_config(file)
    assert str(caught.value) == f"{file}: {fault}"
    file.chmod(0o600)
    assert read_config(file).broker.password == "x"


def test_a_key_others_can_read_is_refused(tmp_path):
    for name in ("c.pem", "c.key"):
        (tmp_path / name).write_text("")
    (tmp_path / "c.key").chmod(0o644)
    text = GOOD.replace("[[", '[broker.tls]\ncert = "c.pem"\nkey = "c.key"\n[[', 1)
    (fault,) = faults(tmp_path, text)
    assert fault.startswith("broker.tls.key: the private key is open to every user (mode 0644); do: chmod 600 ")


def test_a_password_from_a_file_or_a_credential(tmp_path, monkeypatch):
    secret = tmp_path / "secret"
    secret.write_text("päss word\n")
    secret.chmod(0o600)
    text = USER.replace("[[", 'password_file = "secret"\n[[', 1)
    assert read_config(write(tmp_path, text)).broker.password == "päss word"
    before = read_config(write(tmp_path, text)).digest
    secret.chmod(0o644)
    assert "is open to every user" in faults(tmp_path, text)[0]
    secret.write_text("a\nb\n")
    secret.chmod(0o600)
    assert "has to hold one line" in faults(tmp_path, text)[0]
    secret.unlink()
    assert "cannot be read: No such file" in faults(tmp_path, text)[0]
    text = text.replace('"secret"', '"$CREDENTIALS_DIRECTORY/mqtt"')
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert "no credentials were handed over" in faults(tmp_path, text)[0]
    (tmp_path / "mqtt").write_text("y")
    (tmp_path / "mqtt").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    config = read_config(write(tmp_path, text))
    assert (config.broker.password, config.digest != before) == ("y", True)


def test_the_digest_does_not_give_the_password_away(tmp_path):
    digests = set()
    for password in ("a", "b"):
        file = write(tmp_path, USER.replace("[[", f'password = "{password}"\n[[', 1))
        file.chmod(0o600)
        digests.add(read_config(file).digest)
    assert len(digests) == 1
