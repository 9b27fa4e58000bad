"""What an error says to people: one line with the place, and the end of its traceback."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

import lifecycle
from lifecycle import ReleaseTimeout

from .._ground.errors import (
    HandlerChanged,
    OutputNotPlain,
    OutputTooLarge,
    RemoteLost,
    SecretHidden,
    ThreadAbandoned,
)
from .._ground.limits import MESSAGE_CHARACTERS
from .._ground.text import one_line, plural, shorten
from .error_text import (
    MOST_ERRORS,
    MOST_SHOWN,
    attempt,
    frames_of,
    is_group,
    kind_of,
    leaves_of,
    long_kind_of,
    notes_of,
    rendered,
    text_of,
)

if TYPE_CHECKING:
    from .._ground.secrets import Secrets

_PLACE = "__lifecycle_place__"
_PACKAGE = os.path.join(os.path.dirname(lifecycle.__file__), "")


def note_place(error: BaseException, path: str, index: int | None) -> None:
    """Note in which block *error* happened; the innermost note stays."""
    if _place_of(error) is None and not is_group(error):
        # An exception type may refuse attributes.
        attempt(lambda: setattr(error, _PLACE, path if index is None else f"{path} (item {index})"), lambda _: None)


def _place_of(error: BaseException) -> str | None:
    place = attempt(lambda: getattr(error, _PLACE, None), lambda _: None)
    return place if type(place) is str else None


def describe(error: BaseException) -> str:
    """Return *error* in one line, with the block where it happened."""
    return one_line(shorten(_describe(error), MESSAGE_CHARACTERS))


def _describe(error: BaseException, *, placed: bool = True) -> str:
    if not is_group(error):
        return _describe_one(error, placed=placed)
    shown = list(islice(leaves := leaves_of(error), MOST_SHOWN))
    count = len(shown) + sum(1 for _ in leaves)
    more = "" if count == len(shown) else f"; and {count - len(shown):,} more"
    many = "at least " if count == MOST_ERRORS else ""
    return f"{many}{plural(count, 'failure')}: {'; '.join(map(_describe_one, shown))}{more}"


def _describe_one(error: BaseException, *, placed: bool = True) -> str:
    place = _place_of(error) if placed else None
    text = text_of(error)
    return f"{f'{place}: ' if place else ''}{kind_of(error)}{f': {text}' if text else ''}"


def without_secrets(error: BaseException, secrets: Secrets) -> BaseException:
    """Return *error*, or, when its text or its traceback holds a secret, another one that says the same without it.

    Also when not all of it can be looked at.
    """
    text = _describe(error, placed=False)
    lines = rendered(error) if secrets.forms else ""
    if lines is not None and secrets.hide(text) == text and secrets.hide(lines) == lines:
        return error
    hidden = _kind_without_secrets(error)(secrets.hide(text))
    setattr(hidden, _PLACE, _place_of(error))
    return hidden


def _kind_without_secrets(error: BaseException) -> type[Exception]:
    """Return the type of the error that takes its place: trying again is as pointless as it was."""
    if abandoned_something(error):
        return ThreadAbandoned
    return OutputNotPlain if is_final(error) else SecretHidden


def trace(error: BaseException, hide: Callable[[str], str] = str) -> str:
    """Return the end of the traceback of *error*, bounded, without the frames of the scheduler itself.

    Args:
        error: what was raised.
        hide: what replaces the secrets in it, before it is shortened.
    """
    text = hide(attempt(lambda: _trace(error), lambda _: ""))
    # A file name that is not UTF-8 holds lone surrogates, which SQLite would refuse as text.
    text = shorten(text, 2 * MESSAGE_CHARACTERS).encode("utf-8", "backslashreplace").decode()
    return shorten(text, 2 * MESSAGE_CHARACTERS)


def _trace(error: BaseException) -> str:
    # Not the traceback module: it opens every group that the error, its causes and its contexts hold.
    said = [_describe(error) if is_group(error) else f"{long_kind_of(error)}: {text_of(error)}", *notes_of(error)]
    return "".join([*traceback.format_list(frames_of(error, _is_ours)), *(f"{line}\n" for line in said)])


def _is_ours(filename: str) -> bool:
    return filename.startswith(_PACKAGE)


def abandoned_something(error: BaseException) -> bool:
    """Return whether *error* says that something could not be stopped and still runs."""
    return any(map(_was_abandoned, leaves_of(error)))


def _was_abandoned(error: BaseException) -> bool:
    kind = type(error)
    return issubclass(kind, (RemoteLost, ThreadAbandoned)) or (issubclass(kind, ReleaseTimeout) and error.abandoned)  # type: ignore[attr-defined]


def is_final(error: BaseException) -> bool:
    """Return whether nothing may be tried again: something of it still runs, or the next attempt would end as well."""
    final = (HandlerChanged, OutputNotPlain, OutputTooLarge)
    return any(issubclass(type(leaf), final) or _was_abandoned(leaf) for leaf in leaves_of(error))
