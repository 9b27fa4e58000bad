"""link: any number of loops that end together, each with a name and arguments."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

from typing_extensions import Unpack

from .._ground import kernel
from .._ground.calls import name_of
from .._ground.checks import checked_async, checked_callable, checked_name, checked_timeout
from .._ground.foreign import in_words
from .._ground.signatures import check_takes
from .._task.waiting import Waiting
from .closer import Abort, Close
from .ends import LinkOutcome, failure_of
from .linked import Linked, Loop
from .pair import begin, checked_abort, checked_close, exempt_tasks, join

#: A loop of `link`: an async function, or one in a tuple with its arguments.
Member: TypeAlias = "Loop | tuple[Callable[..., Coroutine[Any, Any, object]], Unpack[tuple[object, ...]]]"


async def link(
    *loops: Member,
    name: str | None = None,
    close: Close | None = None,
    abort: Abort | None = None,
    drain_timeout: float | None = 0.0,
    close_timeout: float | None = 5.0,
    may_end: str | Iterable[str] = (),
    **named: Member,
) -> LinkOutcome:
    """Run loops that end together, and return what became of them when all have ended.

    The general form of `ReaderWorker`, without a mailbox: when one ends, *close* is called, the others are stopped and
    joined. Their errors are in the outcome, and not raised: `LinkOutcome.raise_errors` does that. Those that nobody
    looks at are logged.

    Example::

        async def pump(source, sink):
            async for data in source:
                await sink(data)

        outcome = await link(up=(pump, client, server.send), down=(pump, server, client.send))
        outcome.raise_errors()

    Cancellation: stops and joins all of them, then goes on; at most ``close_timeout`` and a grace, and as long again
    for a *close* that has to be cancelled. Errors that they raise meanwhile are raised here, and the cancellation at
    the caller's next suspension.

    Args:
        loops: async functions, each alone or in a tuple with its arguments; at least one, here or in *named*. They are
            called by their ``__name__``, with a number where two are alike.
        name: for errors and snapshots; by default "link".
        close: closes what they share; see `ReaderWorker`.
        abort: cuts it, where *close* takes too long; see `ReaderWorker`.
        drain_timeout: seconds that the others may go on by themselves when the first has *returned*, or until one
            fails; 0 to stop them at once, None for no bound.
        close_timeout: seconds that a stopped loop may take, and *close* before it is cancelled; None for no bound.
        may_end: the names of loops that may return without ending the others; when one of them fails, it does end them.
        named: further loops, with the names that they are to have.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """
    members = checked_members(loops, named)
    seconds = checked_timeout(drain_timeout, "drain_timeout")
    linked = Linked(
        checked_name(name, "link"),
        members,
        close=checked_close(close),
        on_end=lambda end: seconds if end.how == "returned" else 0.0,
        close_timeout=checked_timeout(close_timeout, "close_timeout"),
        abort=checked_abort(abort, close),
        may_end=checked_names(may_end, members),
    )
    await begin(linked)
    try:
        with Waiting(linked):  # which a cancellation of this task only makes it stop
            await kernel.wait(linked.watch())
    except CancelledError as error:
        linked.stop("the caller of link() was cancelled")
        held = await join(linked, exempt_tasks(), through=True)
        failure = failure_of(linked.outcome(), "errors of linked loops")
        try:
            kernel.conclude(failure, kernel.foremost(error, held), error)
            raise
        finally:
            del failure, held, linked  # whose tracebacks refer to this frame: a cycle
    return linked.report()


def checked_members(loops: tuple[Member, ...], named: Mapping[str, Member]) -> dict[str, Loop]:
    """Return the loops by name.

    Raises:
        TypeError: there is none, or one of them is no async function.
    """
    if not loops and not named:
        raise TypeError("link() needs at least one loop")
    positional = [checked_member(loop) for loop in loops]
    names = distinct([name_of(loop).rpartition(".")[2] for loop in positional], named)
    return dict(zip(names, positional, strict=True)) | {name: checked_member(loop) for name, loop in named.items()}


def checked_member(loop: Member) -> Loop:
    """Return *loop* as a function without arguments.

    Raises:
        TypeError: it is no async function.
    """
    function, *args = loop if isinstance(loop, tuple) and loop else (loop,)
    checked_callable(function, "a loop", args_follow=isinstance(loop, tuple))
    checked_async(function, "link() takes async functions")
    check_takes(function, len(args), f"the loop {name_of(function)}")
    return partial(function, *args) if args else function


def checked_names(may_end: str | Iterable[str], members: Mapping[str, Loop]) -> frozenset[str]:
    """Return the names of the loops that may end.

    Raises:
        TypeError: it is no name, and no collection of names.
        ValueError: no loop is called so.
    """
    if not isinstance(may_end, Iterable):
        raise TypeError(f"may_end must be the name of a loop, or several, got {in_words(may_end)}")
    names = frozenset((may_end,) if isinstance(may_end, str) else may_end)
    unknown = sorted(map(in_words, names - members.keys()))
    if unknown:
        raise ValueError(f"may_end names {', '.join(unknown)}, but the loops are {', '.join(members)}")
    return names


def distinct(wanted: list[str], taken: Iterable[str]) -> list[str]:
    """Return a name for each of those that are *wanted*, no two alike, and none that is *taken*."""
    names: dict[str, None] = dict.fromkeys(taken)
    given: list[str] = []
    numbers: dict[str, int] = {}  # the last one given to loops of a name, because there may be many
    for base in wanted:
        name = base
        number = numbers.get(base, 1)
        while name in names:
            number += 1
            name = f"{base} {number}"
        numbers[base] = number
        names[name] = None
        given.append(name)
    return given
