"""LinkOutcome and LoopEnd: who ended first and why, and what every loop met."""

from dataclasses import dataclass, field
from typing import Any, Literal

import anyio

from .._ground import kernel
from .._ground.foreign import combine, in_words
from .._ground.logs import OwnerLog
from .._ground.watchers import tell_task_failure

logger = OwnerLog("lifecycle.pair")

How = Literal["returned", "raised", "cancelled", "stopped", "abandoned"]

#: What a loop raises when its resource was closed under it, as `close` is meant to do.
ECHOES = (OSError, EOFError, anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream)

#: The fields of an outcome that show what was raised.
TELLING = frozenset({"first", "ends", "close_error"})


@dataclass(frozen=True, slots=True)
class LoopEnd:
    """How one of several linked loops ended.

    Attributes:
        name: ``"reader"``, ``"worker"``, or the name of a loop given to `link`.
        how: ``"returned"``; ``"raised"``; ``"cancelled"``, from outside; ``"stopped"``, because the others ended or
            the whole was closed; ``"abandoned"``: it ignored its cancellation and still runs.
        error: what it raised, also while it was being stopped; a `ReleaseTimeout` for one that was abandoned.
        told: whether it had been asked to stop before it ended.
    """

    name: str
    how: How
    error: BaseException | None = None
    told: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.how}" + (f" {in_words(self.error)}" if self.error is not None else "")


class Unasked:
    """An error that was left to those who hold an outcome: it is logged when the last of them has not asked for it."""

    __slots__ = ("__weakref__", "_failure", "_owner")

    def __init__(self, owner: str, failure: BaseException) -> None:
        self._owner = owner
        self._failure: BaseException | None = failure

    def ask(self) -> None:
        """Note that somebody looks."""
        self._failure = None

    def __del__(self) -> None:
        if self._failure is not None:
            tell_task_failure(logger, "linked loops failed", self._failure, owner=self._owner)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # a copy that has travelled is for those to ask who have it


@dataclass(frozen=True, slots=True)
class LinkOutcome:
    """What became of linked loops.

    The errors in it are not raised. Where nobody has looked at them before the outcome is dropped, they are logged:
    `first`, `ends`, `close_error`, what is derived from these, and `raise_errors` are a look.

    Attributes:
        first: the end that ended all; None when they were stopped from outside before any of them had ended.
        reason: why the others were stopped, None when all ended by themselves.
        ends: how each loop ended, in the order in which they did.
        close_error: what closing the resource raised, unless that is the very error of a loop.
        undelivered: how many items the reader had sent that the worker did not take.
    """

    first: LoopEnd | None
    reason: str | None
    ends: tuple[LoopEnd, ...]
    close_error: BaseException | None = None
    undelivered: int = 0
    _unasked: Unasked | None = field(default=None, repr=False, compare=False)

    def __getattribute__(self, name: str) -> Any:
        if name in TELLING:
            unasked = object.__getattribute__(self, "_unasked")
            if unasked is not None:
                unasked.ask()
        return object.__getattribute__(self, name)

    @property
    def reader_error(self) -> BaseException | None:
        """What the reader raised; None where no loop is called so."""
        return self._errors_by_name().get("reader")

    @property
    def worker_error(self) -> BaseException | None:
        """What the worker raised; None where no loop is called so."""
        return self._errors_by_name().get("worker")

    @property
    def errors(self) -> tuple[BaseException, ...]:
        """All that was raised, in order and each error once, that of closing last."""
        errors = [*(end.error for end in self.ends), self.close_error]
        return tuple({id(error): error for error in errors if error is not None}.values())

    def error_of(self, name: str) -> BaseException | None:
        """Return what the loop called *name* raised, None when it raised nothing.

        Raises:
            ValueError: no loop is called so.
        """
        errors = self._errors_by_name()
        if name not in errors:
            raise ValueError(f"no loop is called {in_words(name)}; they are {', '.join(errors)}")
        return errors[name]

    def _errors_by_name(self) -> dict[str, BaseException | None]:
        return {end.name: end.error for end in self.ends}

    def raise_errors(self) -> None:
        """Raise what was raised: one error as it is, several as an ``ExceptionGroup``; return where there is none.

        Left out is what only says that the resource was closed, raised by a loop that was being stopped.
        """
        try:
            kernel.conclude(failure_of(self, "errors of linked loops"))
        finally:
            del self  # which holds the error whose traceback refers to this frame: a cycle


def failure_of(outcome: LinkOutcome, message: str) -> BaseException | None:
    """Return the errors in *outcome* as one, without those that only say that the resource was closed."""
    errors = [end.error for end in outcome.ends if end.error is not None and not is_echo(end)]
    if outcome.close_error is not None:
        errors.append(outcome.close_error)
    return combine(message, errors) if errors else None


def is_echo(end: LoopEnd) -> bool:
    """Return whether the error of *end* only says that the resource was closed while the loop was being stopped."""
    return end.told and end.how == "raised" and isinstance(end.error, ECHOES)
