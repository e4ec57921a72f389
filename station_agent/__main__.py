"""The command ``station-agent``: run, check, doctor, status, replay, export, sizing."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from station_agent import __version__
from station_agent.errors import AgentError, SpoolDamagedError, SpoolUnwritableError

if TYPE_CHECKING:
    import logging
    import threading

    from station_agent.config import Config
    from station_agent.spool import Spool


DAMAGED_AGAIN_S: Final = 60.0
"""A spool found damaged so soon after the last one ends the agent; whoever started it starts it again later."""

UNWRITABLE_S: Final = 10.0
"""Seconds until a disk is tried again that could not be written while readings wait for it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 well, 1 a fault said in a sentence, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "run": _run,
        "check": _check,
        "status": _status,
        "doctor": _doctor,
        "replay": _replay,
        "export": _export,
        "sizing": _sizing,
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
    doctor = _command(commands, "doctor", "look at everything a station needs, and say what to do")
    doctor.add_argument("--lang", choices=("en", "zh"), help="language; else by LC_ALL, LC_MESSAGES or LANG")
    replay = _command(commands, "replay", "read files once and deliver them")
    replay.add_argument("--instrument", required=True, metavar="NAME", help="the instrument that wrote them")
    replay.add_argument("files", nargs="+", type=Path, metavar="FILE")
    export = _command(commands, "export", "write what the spool holds as CSV; the agent may be running")
    export.add_argument("--to", required=True, type=Path, metavar="FILE", help="new file for the samples")
    export.add_argument("--events", type=Path, metavar="FILE", help="new file for the events [FILE-events.csv]")
    sizing = _command(commands, "sizing", "say how many days the quota holds and what the link carries")
    sizing.add_argument("--rate", type=_positive, metavar="HZ", help="samples a second of all instruments together")
    sizing.add_argument("--quantities", type=_count, default=20, metavar="N", help="numbers in a sample [20]")
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not 1e-6 <= number <= 1e4:
        raise argparse.ArgumentTypeError(f"{text}: expected 0.000001 to 10000")
    return number


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 to 1000")
    return number


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=about, description=about)
    command.add_argument("--config", required=True, type=Path, metavar="FILE", help="the station's TOML")
    return command


# --- commands --------------------------------------------------------------------------------
# What a command needs is imported by it: the agent starts on small machines.


def _run(options: argparse.Namespace) -> int:
    from station_agent import heap  # noqa: PLC0415
    from station_agent.agent import Agent, Ending  # noqa: PLC0415
    from station_agent.config import read_config  # noqa: PLC0415
    from station_agent.notify import Notifier  # noqa: PLC0415
    from station_agent.reading import Reading  # noqa: PLC0415
    from station_agent.sources import open_source  # noqa: PLC0415

    heap.use_one()
    damaged = float("-inf")
    stop, notifier, ending, unstored = _stop_on_signals(), Notifier(), Ending.RELOAD, list[Reading]()
    while ending is Ending.RELOAD and not (unstored and stop.is_set()):
        config = read_config(options.config)
        try:
            with _spool(config) as spool:
                standing = {entry.name: spool.positions(entry.name) for entry in config.instruments}
                for reading in unstored:  # read already: not to be read again
                    reading.move(standing.get(reading.instrument, {}))
                sources = [open_source(entry, standing[entry.name]) for entry in config.instruments]
                agent = Agent(config, spool, sources, take_config=True, notifier=notifier, unstored=unstored)
                unstored = agent.unstored
                ending = agent.run(stop, until_drained=options.until_drained)
        except SpoolDamagedError as error:
            if time.monotonic() - damaged < DAMAGED_AGAIN_S:
                raise  # the disk is bad: a new spool on it is damaged as soon
            if _set_aside(config, error):
                damaged = time.monotonic()
            else:
                stop.wait(UNWRITABLE_S)
        except SpoolUnwritableError as error:
            if not unstored:
                raise  # what is not read yet is not lost
            _log().error("%s; what was read and not spooled waits", error)
            stop.wait(UNWRITABLE_S)
    return 0


def _log() -> logging.Logger:
    import logging  # noqa: PLC0415

    return logging.getLogger(__name__)


def _set_aside(config: Config, error: SpoolDamagedError) -> bool:
    """Put a new spool in the place of one that was found damaged while it was in use; return whether the disk took it.

    Where it did not, the damaged one is still there, and is met again.
    """
    from station_agent.rescue import set_aside  # noqa: PLC0415

    _log().error("%s; it is set aside, and what can be read of it is carried over", error)
    station, samples, report_to = config.station, config.batch.samples, config.instruments[0].name
    try:
        set_aside(config.spool.path, str(error), station=station, samples=samples, report_to=report_to)
    except SpoolUnwritableError as unwritable:
        _log().error("%s; it is tried again", unwritable)
        return False
    return True


def _replay(options: argparse.Namespace) -> int:
    from station_agent.agent import Agent  # noqa: PLC0415
    from station_agent.config import read_config  # noqa: PLC0415
    from station_agent.sources import FiniteFiles  # noqa: PLC0415

    config = read_config(options.config)
    source = FiniteFiles(config.instrument(options.instrument), options.files)
    with _spool(config) as spool:
        Agent(config, spool, [source]).run(_stop_on_signals(), until_drained=True)
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


def _doctor(options: argparse.Namespace) -> int:
    from station_agent.doctor import examine  # noqa: PLC0415
    from station_agent.words import language  # noqa: PLC0415

    well = True
    for line in examine(options.config, language=options.lang or language()):
        print(line.text, flush=True)  # noqa: T201 - the command's answer, as it comes
        well = well and line.ok
    return 0 if well else 1


def _export(options: argparse.Namespace) -> int:
    from station_agent.config import read_config  # noqa: PLC0415
    from station_agent.export import export  # noqa: PLC0415

    samples = options.to
    events = options.events or samples.with_name(f"{samples.stem}-events.csv")
    done = export(read_config(options.config).spool.path, samples, events)
    print(f"{samples}: {done.samples:,} samples")  # noqa: T201 - the command's answer
    print(f"{events}: {done.events:,} events")  # noqa: T201 - the command's answer
    if done.unreadable:
        print(f"{done.unreadable:,} batches could not be read and were left out", file=sys.stderr)  # noqa: T201
    return 1 if done.unreadable else 0


def _sizing(options: argparse.Namespace) -> int:
    from station_agent.config import read_config  # noqa: PLC0415
    from station_agent.sizing import made_up, measured, said  # noqa: PLC0415

    config = read_config(options.config)
    rate = None if options.rate else measured(config)
    if rate is None:
        rate = made_up(config, per_second=options.rate or len(config.instruments), quantities=options.quantities)
    print("\n".join(said(config, rate)))  # noqa: T201 - the command's answer
    return 0


def _spool(config: Config) -> Spool:
    from station_agent.rescue import open_spool  # noqa: PLC0415

    station, samples = config.station, config.batch.samples
    return open_spool(config.spool.path, station=station, samples=samples, report_to=config.instruments[0].name)


def _stop_on_signals() -> threading.Event:
    """Log to stderr, and return what is set when SIGTERM or SIGINT says stop."""
    import logging  # noqa: PLC0415
    import signal  # noqa: PLC0415
    import threading  # noqa: PLC0415

    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


if __name__ == "__main__":
    raise SystemExit(main())
