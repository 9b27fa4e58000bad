"""The server that other tests rely on: what outlives its end, and what is left of it when its users are gone."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from . import Postgres, ServerSaidNo, ask

pytestmark = pytest.mark.slow

HOLD = """
import time
from tests.postgres import own
server = own("-F")
print(server.directory, *server.pids(), flush=True)
time.sleep(600)
"""


def statuses(server: Postgres) -> set[str]:
    """Return what the kernel says of the processes of a server."""
    return {psutil.Process(pid).status() for pid in server.pids()}


def test_each_database_is_a_new_one(database: str, postgres: Postgres) -> None:
    """What is written in one is not in another; values come back as what they are."""
    ask(database, "CREATE TABLE there (number int)", "INSERT INTO there VALUES (1), (NULL)")
    assert ask(database, "SELECT number, 'a', true, 1.5::float8 FROM there ORDER BY 1") == [
        (1, "a", True, 1.5),
        (None, "a", True, 1.5),
    ]
    with postgres.database() as other, pytest.raises(ServerSaidNo, match='relation "there" does not exist'):
        ask(other, "SELECT * FROM there")
    with pytest.raises(ServerSaidNo, match="does not exist"):
        ask(other, "SELECT 1")


def test_what_was_committed_outlives_a_crash_and_a_pause(own_server: Postgres) -> None:
    """A connection does not."""
    with own_server.database() as url:
        assert ask(url, "SHOW fsync") == [("on",)]
        ask(url, "CREATE TABLE there (number int)", "INSERT INTO there VALUES (1)")
        for manner in ("immediate", "fast"):
            own_server.stop(manner)
            with pytest.raises(OSError):
                ask(url, "SELECT 1")
            own_server.start()
            assert ask(url, "SELECT number FROM there") == [(1,)]
        own_server.pause()
        assert statuses(own_server) <= {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
        own_server.resume()
        assert ask(url, "SELECT number FROM there") == [(1,)]


def test_a_pause_stops_all_of_it_while_clients_come_and_go(own_server: Postgres) -> None:
    """None of it is begun behind its back; one that is just ending, whom nobody can reap now, is not waited for."""
    leaving = threading.Event()

    def come_and_go() -> None:
        while not leaving.is_set():
            assert ask(own_server.url(), "SELECT 1") == [(1,)]

    with ThreadPoolExecutor(4) as crowd:
        clients = [crowd.submit(come_and_go) for _ in range(4)]
        try:
            for _ in range(20):
                time.sleep(0.01)
                own_server.pause()
                assert statuses(own_server) <= {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
                own_server.resume()
        finally:
            own_server.resume()
            leaving.set()
        for client in clients:
            client.result()


def test_nothing_is_left_when_whoever_had_it_is_killed() -> None:
    """Neither a process nor a file, though nobody could clean up."""
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        directory, *pids = holder.stdout.readline().split()
        assert Path(directory).is_dir()
        holder.kill()
    until = time.monotonic() + 60.0
    while Path(directory).exists() or any(psutil.pid_exists(int(pid)) for pid in pids):
        assert time.monotonic() < until, "it did not end"
        time.sleep(0.01)
