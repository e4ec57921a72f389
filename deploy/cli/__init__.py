"""The tree of `skyledger` commands: one module of this package for each group.

A module adds its commands in ``attach(app)``. What is slow to import or belongs to an extra it imports inside
the command, so that `skyledger --help` is quick and a missing extra is named by the command that needs it.
"""

import importlib
import pkgutil

import typer

app = typer.Typer(
    name="skyledger",
    help="Check the greenhouse-gas emissions ledger against the sky.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def root() -> None:
    """Check the greenhouse-gas emissions ledger against the sky."""


for _module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
    importlib.import_module(f"{__name__}.{_module.name}").attach(app)
