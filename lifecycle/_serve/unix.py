"""Unix sockets: whose file is whose, which of them is dead, and who may connect to ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from .._ground import kernel
from .._ground.foreign import in_words
from .listener import Listener, SocketListener

#: A user and a group by name or number; None leaves it as it is.
Owner: TypeAlias = tuple[str | int | None, str | int | None]

#: How often the directory's lock is tried for, and the seconds between two tries; ours is held for one step.
LOCK_TRIES = (40, 0.005)


async def listen_unix(
    path: str | os.PathLike[str], backlog: int, *, mode: int | None = None, owner: tuple[int, int] | None = None
) -> list[Listener]:
    """Return a listener on a Unix socket; a file of a dead listener is replaced.

    Nobody can connect before the file has its mode and owner, because only then the socket listens. Two servers that
    replace one file do so one after the other: they lock its directory, which leaves nothing behind.

    Cancellation: nothing is left open.

    Raises:
        OSError: the path cannot be listened on.
    """
    loop = kernel.running_loop()
    if (own := getattr(loop, "open_listeners", None)) is not None:
        listeners: list[Listener] = await own(None, os.fspath(path))
        return listeners
    address = os.fspath(path)
    if is_abstract(address):
        return [SocketListener(open_unix(address, backlog))]
    address, directory = place_of(address)
    async with locked(directory):
        if is_dead(address):
            with contextlib.suppress(OSError):
                os.unlink(address)
        listening = open_unix(address, backlog, mode, owner)
        return [SocketListener(listening, SocketFile(address).remove)]


def place_of(address: str) -> tuple[str, str]:
    """Return where the file is to be, and its directory; a link stays, and leads to it."""
    if os.path.islink(address):
        address = os.path.realpath(address)
    return address, os.path.dirname(os.path.abspath(address))


def open_unix(
    address: str, backlog: int, mode: int | None = None, owner: tuple[int, int] | None = None
) -> socket.socket:
    """Return a listening socket.

    Raises:
        OSError: the address cannot be listened on; no file is left then.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made = False
    try:
        listening.setblocking(False)
        listening.bind(address)
        made = not is_abstract(address)
        if owner is not None:
            os.chown(address, *owner)
        if mode is not None:
            os.chmod(address, mode)
        listening.listen(backlog)
    except BaseException as error:
        if made:
            with contextlib.suppress(OSError):
                os.unlink(address)
        listening.close()
        if not isinstance(error, OSError):
            raise
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror or error}") from error
    return listening


@asynccontextmanager
async def locked(directory: str) -> AsyncIterator[None]:
    """Hold the lock of *directory*, so that servers which replace a file there do so one after the other.

    Where it cannot be had, go on without it: some file systems have no locks, and others may hold it for ever.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            opened = os.open(directory, os.O_RDONLY)
            stack.callback(os.close, opened)
            tries, pause = LOCK_TRIES
            for _ in range(tries):
                try:
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(pause)
        yield


class SocketFile:
    """The file of a Unix socket, known by its number: another process may have put another file in its place.

    Args:
        path: where it is now; the process may change its directory.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self._number = number_of(self._path)

    def remove(self) -> None:
        """Remove the file, if it is still there."""
        if self._number is not None and self._number == number_of(self._path):
            with contextlib.suppress(OSError):
                os.unlink(self._path)


def number_of(path: str) -> tuple[int, int] | None:
    """Return the device and inode of a file, None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_abstract(address: str | bytes) -> bool:
    """Return whether *address* is a name in Linux's abstract namespace, and not a file."""
    return address[:1] in ("\0", b"\0", "", b"")


def is_dead(path: str) -> bool:
    """Return whether *path* is a Unix socket that no server has, neither one that listens nor one that is about to.

    The probe is of another type than any server's socket that takes connections. It is told apart before that, so that
    it is no connection at whoever has the file, and shows a socket that does not listen yet.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except (OSError, ValueError):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def checked_mode(mode: int | None) -> int | None:
    """Return *mode*.

    Raises:
        TypeError: it is no whole number.
        ValueError: a file cannot have it.
    """
    if mode is not None:
        if not isinstance(mode, int) or isinstance(mode, bool):
            raise TypeError(f"mode must be a whole number or None, got {in_words(mode)}")
        if not 0 <= mode <= 0o7777:
            raise ValueError(f"mode must be from 0 to 0o7777, got {mode:#o}")
    return mode


def checked_owner(owner: Owner | None) -> tuple[int, int] | None:
    """Return the numbers of user and group, -1 for one that stays as it is; None where both do.

    Raises:
        TypeError: it is not a tuple of two, each a name, a number or None.
        ValueError: there is no user or group of that name or number.
    """
    if owner is None:
        return None
    if not isinstance(owner, tuple) or len(owner) != 2:
        raise TypeError(f"owner must be a tuple of user and group, got {in_words(owner)}")
    return number_of_name(owner[0], "user"), number_of_name(owner[1], "group")


def number_of_name(name: Any, kind: str) -> int:
    """Return the number of a user or a group."""
    if name is None:
        return -1
    if isinstance(name, int) and not isinstance(name, bool):
        if name < 0:
            raise ValueError(f"owner must have a {kind} from 0, got {name}")
        return name
    if not isinstance(name, str):
        raise TypeError(f"owner must have a name, a number or None as its {kind}, got {in_words(name)}")
    import grp
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ValueError(f"owner: there is no {kind} {name!r}") from None
