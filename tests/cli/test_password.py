"""The file of a password."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from lifecycle.cli._password import PasswordFileError, read_password


def written(directory: Path, data: bytes, mode: int = 0o600) -> Path:
    path = directory / "password"
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "data",
    [
        b"s\xc3\xa9cret pass",
        b"s\xc3\xa9cret pass\n",
        b"s\xc3\xa9cret pass\r\n",
        b"\xef\xbb\xbfs\xc3\xa9cret pass\r\n",
        b"  s\xc3\xa9cret pass \n\n \n",
    ],
)
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_password_is_the_line_without_what_editors_add(tmp_path: Path, data: bytes, mode: int) -> None:
    """Line ends, a byte order mark and blanks are no part of it; the group may read it."""
    assert read_password(written(tmp_path, data, mode)) == "sécret pass"


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o777])
def test_a_file_that_everybody_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    """The error says what to do; behind a link it is the file that counts."""
    path = written(tmp_path, b"secret\n", mode)
    link = tmp_path / "link"
    link.symlink_to(path)
    for one in (path, link):
        with pytest.raises(PasswordFileError, match=rf"mode {mode:04o}\); chmod 600 {one}") as caught:
            read_password(one)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n", "is empty"),
        (b"hunter\ntwo\n", "more than one line"),
        (b"\ntwo\n", "more than one line"),
        (b"hunter\n\n\ntwo", "more than one line"),
        (b"hunter\xe2\x80\xa8two", "more than one line"),
        (b"\xff\xfeo\x00n\x00e\x00", "not in UTF-8"),
        (b"hun\x00ter", "control characters"),
        (b"hun\x1bter", "control characters"),
        (b"x" * 5_000, "more than 4,096 bytes"),
    ],
)
def test_what_is_not_one_line_of_text_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    """Without a word of what is in it."""
    with pytest.raises(PasswordFileError, match=why) as caught:
        read_password(written(tmp_path, data))
    assert "hun" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A directory, nothing at all, a name that cannot be one."""
    for path in (tmp_path, tmp_path / "missing", Path("a\0b")):
        with pytest.raises(PasswordFileError):
            read_password(path)


def test_a_password_may_come_through_a_pipe(tmp_path: Path) -> None:
    """As from a program that keeps passwords."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o644)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"secret\n",))
    writer.start()
    assert read_password(pipe) == "secret"
    writer.join()
