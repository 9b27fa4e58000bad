"""What a place has to offer where work can run that outlives this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol, TypeVar

from ._end import RemoteEnd
from ._ticket import Ticket

W = TypeVar("W", contravariant=True)

Say = Callable[[str], None]
"""Adds a line to the job's log."""

Over = Callable[[Collection[int]], Awaitable[Mapping[int, bool]]]
"""Says of jobs, by their numbers, whether they are over; those that the store cannot judge are left out."""


class RemoteHost(Protocol[W]):
    """Runs work that outlives this process: a Kubernetes cluster, a Docker daemon, a machine behind SSH.

    Six methods, each of which may be called again after it was cut off at any point, in another process as well: the
    ticket's name is all that leads back to the work. `run_remote` calls them in the right order and keeps the promises:
    one piece of work for each ticket, taken up by the next attempt when this process dies, ended when the job is
    cancelled, cleared away when its end is recorded.

    A method that cannot reach the host tries for as long as it is sensible and raises an ``OSError``.
    """

    async def start(self, ticket: Ticket, work: W, say: Say) -> None:
        """Start the work, unless there is one by the ticket's name: then that is the one. Returns when it is known.

        What it waits for meanwhile it tells by *say*.

        Cancellation: it may have been started; `stop` is called next.

        Raises:
            RemoteFailed: it is refused, and was not started.
        """

    async def adopt(self, ticket: Ticket, work: W) -> bool:
        """Take over what another attempt has started by this name, running or ended; return whether there is any.

        From then on that other attempt, should it still live, can neither stop nor clear it.
        """

    async def follow(self, ticket: Ticket, work: W, say: Say) -> RemoteEnd:
        """Wait until the work has ended, and return how, with its output; tell by *say* what it waits for.

        Cancellation: ends the waiting; the work goes on.

        Raises:
            RemoteLost: it cannot be known how it ended; it may still run.
        """

    async def log(self, ticket: Ticket, work: W, say: Say) -> None:
        """Hand each line of the work's output to *say*, bounded, until there is no more.

        Cancellation: ends it. It may be behind by a moment when `follow` has returned, and is then waited for a little.
        """

    async def stop(self, ticket: Ticket, work: W) -> None:
        """End the work if it runs, clear it away, and return when nothing of it is left. There may be none.

        Nothing happens to what another attempt has taken over. It is shielded, and cut off after its time is up.
        """

    async def sweep(self, store: str, over: Over) -> int:
        """Find what is left of a store's jobs that are over, clear it away, and return how much that was."""
