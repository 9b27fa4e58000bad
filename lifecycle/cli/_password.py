"""The file of a password: one line, which nobody else on the machine can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

LONGEST: Final = 4_096
"""Bytes of a file that may be one of a password."""


class PasswordFileError(Exception):
    """The file cannot be used; the text says why, and quotes nothing of what is in it."""


def read_password(path: Path) -> str:
    """Return the password in the file *path*: its only line, without blanks around it.

    Raises:
        PasswordFileError: it cannot be read, others can read or write it, or it is not one line of text.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())  # of what is read, whatever the path leads to meanwhile
            data = file.read(LONGEST + 1)
    except (OSError, ValueError) as error:
        raise PasswordFileError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise PasswordFileError(
            f"{path}: everybody on this machine can read or change it (mode {stat.S_IMODE(status.st_mode):04o}); "
            f"chmod 600 {path}"
        )
    if len(data) > LONGEST:
        raise PasswordFileError(f"{path}: more than {LONGEST:,} bytes, which is no password")
    try:
        first, *others = data.decode("utf-8-sig").splitlines() or [""]
    except UnicodeDecodeError:
        raise PasswordFileError(f"{path}: not in UTF-8") from None
    if any(line.strip() for line in others):
        raise PasswordFileError(
            f"{path}: more than one line; the password is one line, and nothing else is in its file"
        )
    password = first.strip()
    if not password:
        raise PasswordFileError(f"{path} is empty")
    if not password.isprintable():
        raise PasswordFileError(f"{path}: the password has control characters in it")
    return password
