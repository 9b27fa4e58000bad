"""Unix sockets: who may connect, whose file is whose, and that looking for an owner is no connection at it."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lifecycle import serve_unix
from lifecycle._serve import unix

from .clients import echo, hang_up


def test_the_file_has_its_mode_and_owner_before_anybody_can_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the umask says; and there is none where they cannot be given."""
    path = tmp_path / "control.sock"
    listened: list[int] = []
    listen = socket.socket.listen

    def noting(self: socket.socket, backlog: int) -> None:
        listened.append(stat.S_IMODE(path.stat().st_mode))
        listen(self, backlog)

    async def main() -> None:
        before = os.umask(0o077)
        try:
            with monkeypatch.context() as patch:
                patch.setattr(unix.socket.socket, "listen", noting)
                async with serve_unix(echo, path, mode=0o666, owner=(os.getuid(), os.getgid())):
                    assert stat.S_IMODE(path.stat().st_mode) == 0o666
                    assert path.stat().st_uid == os.getuid()
            monkeypatch.setattr(unix.os, "chown", refused)
            with pytest.raises(PermissionError, match=r"cannot listen on .*control\.sock: not yours"):
                await serve_unix(echo, path, owner=(0, None)).__aenter__()
        finally:
            os.umask(before)
        assert not path.exists()

    def refused(*_: object) -> None:
        raise PermissionError(1, "not yours")

    asyncio.run(main())
    assert listened == [0o666]


def test_owners_may_be_named() -> None:
    """By the names of this system, each of them or none."""
    import grp
    import pwd

    user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(os.getgid())
    assert unix.checked_owner((user.pw_name, group.gr_name)) == (user.pw_uid, group.gr_gid)
    assert unix.checked_owner((None, 7)) == (-1, 7)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: serve_unix(echo, "x", mode="0660"), TypeError, "mode must be a whole number"),  # type: ignore[arg-type]
        (lambda: serve_unix(echo, "x", mode=True), TypeError, "mode must be a whole number"),
        (lambda: serve_unix(echo, "x", mode=0o10000), ValueError, "mode must be from 0 to 0o7777"),
        (lambda: serve_unix(echo, "x", owner="root"), TypeError, "owner must be a tuple"),  # type: ignore[arg-type]
        (lambda: serve_unix(echo, "x", owner=(1.5, None)), TypeError, "owner must have a name"),  # type: ignore[arg-type]
        (lambda: serve_unix(echo, "x", owner=("no such user", None)), ValueError, "there is no user 'no such user'"),
        (lambda: serve_unix(echo, "\0x", mode=0o660), ValueError, "abstract namespace has no file"),
        (lambda: serve_unix(echo), TypeError, "needs a path or a sock"),
    ],
)
def test_what_a_file_cannot_have_is_refused(make: Callable[[], object], kind: type[Exception], message: str) -> None:
    """When it is given."""
    with pytest.raises(kind, match=message):
        make()


def test_the_file_of_a_server_that_is_about_to_listen_is_left_alone(tmp_path: Path) -> None:
    """It is bound and does not listen yet: nobody can connect, as to a dead one."""

    async def main() -> None:
        path = tmp_path / "starting.sock"
        with socket.socket(socket.AF_UNIX) as starting:
            starting.bind(str(path))
            with pytest.raises(OSError, match="in use"):
                await serve_unix(echo, path).__aenter__()
            starting.listen()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        async with serve_unix(echo, path):  # dead now
            pass

    asyncio.run(main())


def test_a_server_is_not_connected_to_for_seeing_whether_it_lives(tmp_path: Path) -> None:
    """A handler that began would wait for somebody who has left."""

    async def main() -> None:
        path = tmp_path / "live.sock"
        async with serve_unix(echo, path) as live:
            with pytest.raises(OSError, match="in use"):
                await serve_unix(echo, path).__aenter__()
            await asyncio.sleep(0.05)
            assert live.statistics().accepted == 0

    asyncio.run(main())


def test_a_link_to_a_dead_socket_stays_one(tmp_path: Path) -> None:
    """What it leads to is made anew, and removed."""

    async def main() -> None:
        target, link = tmp_path / "target.sock", tmp_path / "link.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(target))
        link.symlink_to(target)
        async with serve_unix(echo, link) as server:
            assert link.is_symlink()
            assert server.addresses == (str(target),)
            _, writer = await asyncio.open_unix_connection(link)
            await hang_up(writer)
        assert link.is_symlink()
        assert not target.exists()

    asyncio.run(main())


def test_two_servers_that_find_one_dead_file_do_not_both_get_it(tmp_path: Path) -> None:
    """Replacing it is a step that only one of them takes at a time, also where the lock is held a while."""

    async def main() -> None:
        path = tmp_path / "dead.sock"
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(path))
            servers = [serve_unix(echo, path) for _ in range(5)]
            entered = await asyncio.gather(*[server.__aenter__() for server in servers], return_exceptions=True)
            assert sum(isinstance(each, OSError) for each in entered) == 4
            for server in servers:
                await server.aclose()
            assert not path.exists()
        async with unix.locked(str(tmp_path)), serve_unix(echo, path):
            assert path.exists()

    asyncio.run(main())
