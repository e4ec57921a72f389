"""The `skyledger` command: the tree of commands, and one sentence for every error of ours."""

import sys

from deploy import logs

PACKAGES = ("station_agent", "ingest", "qc", "inversion", "deploy")
INSTALL = "pip install 'skyledger[server,science,local,dashboard]'"
INTERRUPTED = 130


def main() -> int:
    """Run the command line; errors of ours become one sentence and exit code 1, Ctrl-C becomes 130."""
    try:
        from deploy.cli import app  # noqa: PLC0415  the base install has no typer: say so instead of a traceback

        app()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in PACKAGES:
            raise
        logs.complain(f"this command needs the Python package {error.name}, which is not installed: {INSTALL}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in PACKAGES:
            raise
        logs.complain(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
