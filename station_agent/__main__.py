"""The command ``station-agent``: run, check, status, replay."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from station_agent import __version__
from station_agent.errors import AgentError

if TYPE_CHECKING:
    from station_agent.config import Config
    from station_agent.sources import Source
    from station_agent.spool import Spool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 well, 1 a fault said in a sentence, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "run": _run,
        "check": _check,
        "status": _status,
        "replay": _replay,
    }
    try:
        return commands[options.command](options)
    except AgentError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the sentence the user is owed
        return 1
    except BrokenPipeError:
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="station-agent", description="Reads an instrument, spools durably, delivers over MQTT."
    )
    parser.add_argument("--version", action="version", version=f"station-agent {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = _command(commands, "run", "read the instruments and deliver, until stopped")
    run.add_argument("--until-drained", action="store_true", help="end once all there is has been acknowledged")
    _command(commands, "check", "name every fault of the configuration")
    status = _command(commands, "status", "say what the spool holds; needs no running agent")
    status.add_argument("--json", action="store_true", help="as JSON")
    replay = _command(commands, "replay", "read files once and deliver them")
    replay.add_argument("--instrument", required=True, metavar="NAME", help="the instrument that wrote them")
    replay.add_argument("files", nargs="+", type=Path, metavar="FILE")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=about, description=about)
    command.add_argument("--config", required=True, type=Path, metavar="FILE", help="the station's TOML")
    return command


# --- commands --------------------------------------------------------------------------------
# What a command needs is imported by it: the agent starts on small machines.


def _run(options: argparse.Namespace) -> int:
    from station_agent.config import read_config  # noqa: PLC0415
    from station_agent.sources import open_source  # noqa: PLC0415

    config = read_config(options.config)
    with _spool(config) as spool:
        sources = [open_source(entry, spool.positions(entry.name)) for entry in config.instruments]
        _drive(config, spool, sources, until_drained=options.until_drained)
    return 0


def _replay(options: argparse.Namespace) -> int:
    from station_agent.config import read_config  # noqa: PLC0415
    from station_agent.sources import FiniteFiles  # noqa: PLC0415

    config = read_config(options.config)
    source = FiniteFiles(config.instrument(options.instrument), options.files)
    with _spool(config) as spool:
        _drive(config, spool, [source], until_drained=True)
    return 0


def _check(options: argparse.Namespace) -> int:
    from station_agent.config import read_config  # noqa: PLC0415
    from station_agent.report import checked  # noqa: PLC0415

    print("\n".join(checked(read_config(options.config))))  # noqa: T201 - the command's answer
    return 0


def _status(options: argparse.Namespace) -> int:
    from station_agent.config import read_config  # noqa: PLC0415
    from station_agent.report import condition, condition_json  # noqa: PLC0415

    config = read_config(options.config)
    print(condition_json(config) if options.json else "\n".join(condition(config)))  # noqa: T201 - the command's answer
    return 0


def _spool(config: Config) -> Spool:
    from station_agent.spool import Spool  # noqa: PLC0415

    return Spool(config.spool.path, station=config.station, samples=config.batch.samples)


def _drive(config: Config, spool: Spool, sources: Sequence[Source], *, until_drained: bool) -> None:
    """Run the agent until it is done, or SIGTERM or SIGINT says stop."""
    import logging  # noqa: PLC0415
    import signal  # noqa: PLC0415
    import threading  # noqa: PLC0415

    from station_agent.agent import Agent  # noqa: PLC0415

    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Agent(config, spool, sources).run(stop, until_drained=until_drained)


if __name__ == "__main__":
    raise SystemExit(main())
