"""Which database a command is about: the option ``--db``, an SQLite file or an address, and the store that is there."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import click
from click.core import ParameterSource
from typing_extensions import override

from ..scheduler._store.choice import open_outside
from ..scheduler._store.outside import OutsideStore
from ..scheduler._store.postgres.address import Address, is_postgres
from ._common import BAD_INPUT, refusing
from .show._lines import complain
from .show._plain import PlainDisplay

N = TypeVar("N", int, str)

Database: TypeAlias = Path | Address
"""An SQLite file, or a database on a PostgreSQL server."""

VARIABLE: Final = "LIFECYCLE_DB"
"""The variable of the environment that stands in for the option."""

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII | re.IGNORECASE)


class _DatabaseType(click.ParamType[Database]):
    """An SQLite file, or ``postgresql://...``; a password is not taken from where others can read it.

    For an argument ``-`` is the database of the environment.
    """

    name = "database"

    @override
    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "DATABASE"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Database:
        """Return the database that was written."""
        if isinstance(value, (Path, Address)):
            return value
        hidden = _is_from_environment(param, ctx)
        if value == "-" and isinstance(param, click.Argument):
            value, hidden = os.environ.get(VARIABLE), True
            if not value:
                self.fail(f"- is the database of the variable {VARIABLE}, which is not set", param, ctx)
        if isinstance(value, str) and is_postgres(value):
            try:
                address = Address.parse(value)
            except ValueError as error:
                self.fail(str(error), param, ctx)
            if address.has_password and not hidden:
                self.fail(
                    f"{address}: a password on the command line can be read by everybody on this machine, with ps; "
                    f"leave it out, and put it into the variable PGPASSWORD, into ~/.pgpass, or put the whole address "
                    f"into {VARIABLE}",
                    param,
                    ctx,
                )
            return address
        if isinstance(value, str) and (found := _URL.match(value)):
            # The rest is not quoted: there may be a password in it.
            self.fail(f"a database is an SQLite file or postgresql://..., not {found[0]}...", param, ctx)
        return Path(os.fsdecode(value))


def _is_from_environment(param: click.Parameter | None, ctx: click.Context | None) -> bool:
    if param is None or param.name is None or ctx is None:
        return False
    return ctx.get_parameter_source(param.name) is ParameterSource.ENVIRONMENT


DATABASE: Final = _DatabaseType()

database = click.option(
    "--db",
    type=DATABASE,
    required=True,
    envvar=VARIABLE,
    show_envvar=True,
    help="The database: an SQLite file, or postgresql://USER@HOST/NAME.",
)


def optional_database(use: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the option ``--db`` for a command that does without one; *use* says what it does with it."""
    text = f"Keep the jobs in this database, an SQLite file or postgresql://USER@HOST/NAME; {use}"
    return click.option("--db", type=DATABASE, envvar=VARIABLE, show_envvar=True, help=text)


def for_scheduler(db: Database | None) -> str | Path | None:
    """Return what `Scheduler` takes as its store."""
    return db.revealed if isinstance(db, Address) else db


def file_of(db: Database | None) -> Path | None:
    """Return the file that is the database, None for one on a server."""
    return db if isinstance(db, Path) else None


def option_for(db: Database | None) -> str:
    """Return ``--db`` as another command needs it that a message names.

    Nothing where that command has it from where this one has it: from the environment, together with a password.
    """
    if db is None or (isinstance(db, Address) and db.has_password):
        return ""
    return f" --db {shlex.quote(str(db)) if isinstance(db, Address) else db}"


def store_at(db: Database) -> OutsideStore:
    """Return the store in a database, to be closed with the command; end with exit code 2 if there is no such file."""
    check_file(db)
    store = open_outside(db)
    click.get_current_context().call_on_close(store.close)
    return store


def check_file(db: Database) -> None:
    """End with exit code 2 if the database is a file that is not there."""
    if isinstance(db, Path) and not db.exists():
        complain(f"{db}: there is no such file; `lifecycle run FLOW --db {db}` or `lifecycle serve --db {db}` makes it")
        raise SystemExit(BAD_INPUT)


def check_there(db: Database, names: Iterable[N], look: Callable[[N], object], what: str, command: str) -> None:
    """End with exit code 2 if one of several things is not there, before anything has been done to the others."""
    display = PlainDisplay()
    for name in names:
        if refusing(display, partial(look, name)) is None:
            unknown(db, f"{what} {name!r}", command)


def unknown(db: Database, what: str, command: str) -> NoReturn:
    """End with exit code 2: there is nothing of that name or number."""
    complain(f"{db}: there is no {what}; `lifecycle {command} list{option_for(db)}` shows what there is")
    raise SystemExit(BAD_INPUT)
