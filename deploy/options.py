"""Options that several commands have."""

import getpass
from typing import Annotated

import typer

Dsn = Annotated[
    str, typer.Option(envvar="SKYLEDGER_DSN", help="Database (libpq connection string or URI).", show_default=False)
]
Who = Annotated[
    str,
    typer.Option(help="Who decides; it is kept.", default_factory=getpass.getuser, show_default="your user name"),
]
