"""Errors that cross to another process, or are copied, arrive with all that they say."""

from __future__ import annotations

import asyncio
import copy
import importlib
import inspect
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, resource_tracker
from typing import Any

import pytest

import lifecycle
from lifecycle import (
    ConnectError,
    ConnectTimeout,
    CreationTimeout,
    LifecycleError,
    ReleaseTimeout,
    Scope,
    StillLent,
    SubscriberTooSlow,
    TimeoutExpired,
)
from lifecycle.scheduler import FlowError, JobConflict, RunConflict
from lifecycle.scheduler.errors import HttpFailed, ShellFailed
from lifecycle.scheduler.kubernetes._faults import ApiError
from lifecycle.scheduler.remote import RemoteFailed, RemoteLost
from lifecycle.testing import DeadlockError, LivelockError
from lifecycle.testing._errors import StuckError

#: Where users find errors.
FACES = (
    "lifecycle",
    "lifecycle.testing",
    "lifecycle.testing.faults",
    "lifecycle.scheduler",
    "lifecycle.scheduler.errors",
    "lifecycle.scheduler.control",
    "lifecycle.scheduler.web",
    "lifecycle.integrations.starlette",
    "lifecycle.integrations.aiohttp",
)

CAUSE = OSError(104, "reset")

#: How the errors are made that want more than a message.
MADE: dict[type[BaseException], Callable[[], BaseException]] = {
    ReleaseTimeout: lambda: ReleaseTimeout("mail", 2.0, abandoned=True, stack=["a.py:1 in f"]),
    StillLent: lambda: StillLent("pool 'mail'", 2.0, ["one", "two"]),
    TimeoutExpired: lambda: TimeoutExpired("mail", 2.0),
    CreationTimeout: lambda: CreationTimeout("mail", 2.0, ("a.py:1 in f",)),
    ConnectError: lambda: ConnectError("failed", stage="tls", attempts=2, rollback_errors=[CAUSE]),
    ConnectTimeout: lambda: ConnectTimeout("late", stage=None, attempts=1),
    SubscriberTooSlow: lambda: SubscriberTooSlow("ann", 3),
    FlowError: lambda: FlowError(["a.toml:1 no", "a.toml:2 neither"]),
    RunConflict: lambda: RunConflict("in the way", flow_changed=True),
    JobConflict: lambda: JobConflict("in the way", 7, "report"),
    HttpFailed: lambda: HttpFailed("answered 404", status=404, text="no such page"),
    ShellFailed: lambda: ShellFailed("ended with 2", returncode=2, stderr="no such file"),
    RemoteFailed: lambda: RemoteFailed("no", reason="evicted", exit_code=137, signal="SIGKILL"),
    RemoteLost: lambda: RemoteLost("gone", reason="unreachable"),
    ApiError: lambda: ApiError("no", status=429, reason="TooManyRequests", retry_after=1.0),
    StuckError: lambda: StuckError("stuck", "all tasks"),
    DeadlockError: lambda: DeadlockError("stuck", "all tasks"),
    LivelockError: lambda: LivelockError("stuck", "all tasks"),
}


def every_error() -> Iterator[type[BaseException]]:
    """Yield the error classes of all faces, and whatever else derives from ours in the package."""
    found: dict[type[BaseException], None] = {}
    for face in map(importlib.import_module, FACES):
        for name in getattr(face, "__all__", ()):
            kind = getattr(face, name)
            if isinstance(kind, type) and issubclass(kind, BaseException):
                found[kind] = None
    unseen: list[type[BaseException]] = [LifecycleError]
    while unseen:
        kind = unseen.pop()
        unseen += kind.__subclasses__()
        if kind.__module__.startswith("lifecycle"):
            found[kind] = None
    yield from sorted(found, key=lambda kind: kind.__qualname__)


ERRORS = list(every_error())

WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),
    "the first pickle protocol": lambda error: pickle.loads(pickle.dumps(error, protocol=0)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}

in_every_way = pytest.mark.parametrize("again", WAYS.values(), ids=WAYS)


def told_by(error: BaseException) -> list[object]:
    """Return everything that *error* says."""
    attributes = {name: repr(value) for name, value in vars(error).items()}
    fields = [getattr(error, name, None) for name in ("errno", "strerror", "filename", "filename2")]
    return [type(error), str(error), error.args, attributes, fields]


@in_every_way
@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_survives(kind: type[BaseException], again: Callable[[Any], Any]) -> None:
    """With its message, its arguments, its attributes and its notes."""
    error = MADE[kind]() if kind in MADE else kind("what happened")
    error.add_note("and where")
    arrived = again(error)
    assert arrived is not error
    assert told_by(arrived) == told_by(error)


def test_all_errors_are_walked_over() -> None:
    """Also those that need more than a message: each of them is made here."""
    assert {getattr(lifecycle, name) for name in lifecycle.__all__ if name.endswith("Timeout")} <= set(ERRORS)
    for kind in ERRORS:
        if "__init__" in vars(kind):
            assert kind in MADE
            assert inspect.signature(kind).parameters


class MailLost(LifecycleError, OSError):
    """An error of a user's, with arguments of its own."""

    def __init__(self, address: str, *, letters: int) -> None:
        super().__init__(5, f"lost {letters} letters to {address}")
        self.address = address
        self.letters = letters


class PostLost(MailLost):
    """And one that derives from that."""

    def __init__(self) -> None:
        super().__init__("nobody", letters=3)


@in_every_way
@pytest.mark.parametrize("error", [MailLost("me", letters=2), PostLost()])
def test_an_error_that_derives_from_ours_survives(error: OSError, again: Callable[[Any], Any]) -> None:
    """Whatever arguments it wants."""
    assert told_by(again(error)) == told_by(error)


async def overdue() -> None:
    async with Scope("job", close_timeout=0.01) as scope:
        scope.push_async_callback(asyncio.sleep, 60)


def in_a_worker() -> None:
    asyncio.run(overdue())


def test_an_error_of_a_worker_process_reaches_its_caller() -> None:
    """One that cannot be read there would break the whole pool."""
    try:
        with_a_worker()
    finally:
        resource_tracker._resource_tracker._stop()  # a process that would stay for as long as this one lives


def with_a_worker() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as workers:
        for _ in range(2):
            with pytest.raises(ReleaseTimeout, match="releasing callback sleep"):
                workers.submit(in_a_worker).result()
