"""Requests: which of several cancellations of one task is raised, and in whose words.

Each request to cancel a task counts in ``Task.cancelling()``, and carries a message. Several of them become one error:
asyncio makes one of those that meet in a step, and an owner holds them back until it is closed, and raises one then.
Those that are taken back again, by an owner or by a timeout, are told by the count, and need no error. So the error is
that of the request that lasts: what is meant for the host must not leave in the words of an owner in between.
"""

from __future__ import annotations

from asyncio import CancelledError, Task
from typing import Any, cast

from .foreign import add_context, contexts
from .scopes import is_scope_cancellation, native_requests


class Interruption(str):
    """The message of a cancellation that its requester takes back: an owner, from the body that it has ended."""

    __slots__ = ()


#: How much is lost without a cancellation: by an anyio scope, by an owner, by somebody who does not say why, or does.
SCOPES, OURS, SILENT, TOLD = range(4)


def _claim(error: CancelledError) -> int:
    """Return how much is lost without *error*."""
    if is_scope_cancellation(error):
        return SCOPES
    if not error.args:
        return SILENT
    return OURS if type(error.args[0]) is Interruption else TOLD


def foremost(held: CancelledError | None, other: CancelledError | None) -> CancelledError | None:
    """Return which of two cancellations of one task to deliver: what is lost without it goes first, then the first.

    anyio repeats its own until its scope is left. A native one comes once, and nothing but its error has its message.
    It has the one that it goes before as its context, where anyio looks: should a timeout in between take its request
    back, the scope knows its own.
    """
    if held is None:
        return other
    if other is None or other is held:
        return held
    first, second = (other, held) if _claim(other) > _claim(held) else (held, other)
    if _scope_cancellation_in(second) is not None and _scope_cancellation_in(first) is None:
        add_context(first, second)
    return first


def _scope_cancellation_in(error: CancelledError) -> CancelledError | None:
    """Return the cancellation by an anyio scope that *error* is, or goes before."""
    for link in contexts(error):
        if isinstance(link, CancelledError) and is_scope_cancellation(link):
            return link
    return None


def latest_request(task: Task[Any]) -> CancelledError:
    """Return the latest request to cancel *task* as the error that it is met as."""
    message = task._cancel_message  # type: ignore[attr-defined]
    return CancelledError() if message is None else CancelledError(message)


def as_requested(error: CancelledError, task: Task[Any], *taken_back: str | None) -> CancelledError:
    """Return *error* with the message of its requester: of two requests in one step the first gives the message.

    Args:
        error: what *task* has met.
        task: the calling one; somebody has cancelled it beside those who have taken it back.
        taken_back: the messages of the cancellations that the caller has just taken back.
    """
    if not any(error.args and error.args[0] is words for words in taken_back):
        return error
    repeated, latest = _scope_cancellation_in(error), latest_request(task)
    if repeated is None:
        return latest
    return repeated if native_requests(task) == 0 else cast("CancelledError", foremost(latest, repeated))


def last_words(held: CancelledError, task: Task[Any]) -> tuple[Any, ...]:
    """Return the arguments of the request that lasts when what *held* stands for is taken back.

    asyncio makes one error of two requests in one step. It has the message of the first; the task keeps the last.
    """
    latest = latest_request(task)
    if is_scope_cancellation(held):
        return () if is_scope_cancellation(latest) else latest.args
    if _claim(held) == OURS and native_requests(task) > 1 and _claim(latest) > OURS:
        return latest.args
    return held.args
