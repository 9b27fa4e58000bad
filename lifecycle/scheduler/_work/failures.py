"""What an error says to people: one line with the place, and the end of its traceback."""

from __future__ import annotations

import contextlib
import os
import traceback
from typing import TYPE_CHECKING

import lifecycle
from lifecycle import ReleaseTimeout

from .._ground.errors import HandlerChanged, OutputNotPlain, OutputTooLarge, SecretHidden, ThreadAbandoned
from .._ground.limits import MESSAGE_CHARACTERS
from .._ground.text import one_line, shorten

if TYPE_CHECKING:
    from .._ground.secrets import Secrets

_PLACE = "__lifecycle_place__"
_PACKAGE = os.path.join(os.path.dirname(lifecycle.__file__), "")


def note_place(error: BaseException, path: str, index: int | None) -> None:
    """Note in which block *error* happened; the innermost note stays."""
    if getattr(error, _PLACE, None) is None and not isinstance(error, BaseExceptionGroup):
        with contextlib.suppress(Exception):  # an exception type may refuse attributes
            setattr(error, _PLACE, path if index is None else f"{path} (item {index})")


def describe(error: BaseException) -> str:
    """Return *error* in one line, with the block where it happened."""
    return one_line(shorten(_describe(error), MESSAGE_CHARACTERS))


def _describe(error: BaseException, *, placed: bool = True) -> str:
    if isinstance(error, BaseExceptionGroup):
        inner = "; ".join(_describe(child) for child in error.exceptions)
        return f"{len(error.exceptions)} failures: {inner}"
    place = getattr(error, _PLACE, None) if placed else None
    try:
        text = str(error)
    except BaseException as broken:  # whatever it raises, which would end the attempt in its place
        text = f"<its message could not be made: {type(broken).__name__}>"
    name = type(error).__name__
    return f"{f'{place}: ' if place else ''}{name}{f': {text}' if text else ''}"


def without_secrets(error: BaseException, secrets: Secrets) -> BaseException:
    """Return *error*, or, when its text or its traceback holds a secret, another one that says the same without it."""
    text = _describe(error, placed=False)
    lines = "".join(traceback.format_exception(error)) if secrets.forms else ""
    if secrets.hide(text) == text and secrets.hide(lines) == lines:
        return error
    hidden = _kind_without_secrets(error)(secrets.hide(text))
    setattr(hidden, _PLACE, getattr(error, _PLACE, None))
    return hidden


def _kind_without_secrets(error: BaseException) -> type[Exception]:
    """Return the type of the error that takes its place: trying again is as pointless as it was."""
    if abandoned_something(error):
        return ThreadAbandoned
    return OutputNotPlain if is_final(error) else SecretHidden


def trace(error: BaseException) -> str:
    """Return the end of the traceback of *error*, bounded, without the frames of the scheduler itself."""
    try:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
        lines = [*traceback.format_list(frames[-8:]), *traceback.format_exception_only(error)]
    except BaseException:  # an error whose own __str__ fails, in whatever way
        return ""
    # A file name that is not UTF-8 holds lone surrogates, which SQLite would refuse as text.
    text = "".join(lines).encode("utf-8", "backslashreplace").decode()
    return shorten(text, 2 * MESSAGE_CHARACTERS)


def _is_ours(filename: str) -> bool:
    return filename.startswith(_PACKAGE)


def abandoned_something(error: BaseException) -> bool:
    """Return whether *error* says that something could not be stopped and still runs."""
    if isinstance(error, BaseExceptionGroup):
        return any(abandoned_something(child) for child in error.exceptions)
    return isinstance(error, ThreadAbandoned) or (isinstance(error, ReleaseTimeout) and error.abandoned)


def is_final(error: BaseException) -> bool:
    """Return whether nothing may be tried again: something of it still runs, or the next attempt would end as well."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_final(child) for child in error.exceptions)
    return isinstance(error, (HandlerChanged, OutputNotPlain, OutputTooLarge)) or abandoned_something(error)
