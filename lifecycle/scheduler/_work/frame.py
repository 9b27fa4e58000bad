"""The place where a block runs: its names, its scope, and the ways to run what is inside it."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.lowlevel

from .._ground.bridge import Cancelled, being_cancelled
from .._ground.errors import BlockTimeout, ExpressionError, HandlerError
from .._ground.values import to_plain
from .._language.expressions import resolve
from .context import Context, JobContext
from .ending import Asked, call_in_thread, in_one_way, in_this_process
from .failures import abandoned_something, is_final, note_place, without_secrets
from .handlers import Handler
from .threads import ThreadCall

if TYPE_CHECKING:
    from lifecycle import Scope


class Runnable(Protocol):
    """What a frame runs: a block, of which it needs no more than this."""

    @property
    def path(self) -> str:
        """Where it stands in the flow, for messages."""

    @property
    def timeout(self) -> float | None:
        """Seconds it may take, None for no bound."""

    async def run(self, frame: Frame) -> object:
        """Do the work and return the output."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a block sees while it runs; frames are immutable, an inner block gets a changed copy.

    Attributes:
        scope: owns what the block starts.
        context: the context of the job's attempt.
        names: the root names that expressions use here.
        directory: what relative paths are relative to.
        limiter: bounds the worker threads of the whole scheduler.
        asked: tells whether the scheduler wants what runs here to end.
        job_path: the path of the job's top-level block.
        path: the path of the block that runs here.
    """

    scope: Scope
    context: JobContext
    names: Mapping[str, Any]
    directory: Path
    limiter: anyio.CapacityLimiter
    asked: Asked
    job_path: str = ""
    path: str = ""

    async def run(self, block: Runnable, *, index: int | None = None, timed: bool = True) -> Any:
        """Run a block to its end, within its timeout, and return its output.

        Args:
            block: the block.
            index: the number of the item that it is run for, for messages.
            timed: whether its timeout counts here.

        Cancellation: the block is stopped; what it owned has been released when this returns.

        Raises:
            BlockTimeout: it took longer than its ``timeout``.
            Exception: whatever it raised, with its place noted for the message.
        """
        if self.asked():
            await self.end_again()
        frame = replace(self, path=block.path)
        try:
            if block.timeout is None or not timed:
                return await block.run(frame)
            with anyio.move_on_after(block.timeout) as limit:
                return await block.run(replace(frame, asked=lambda: limit.cancel_called or self.asked()))
            raise BlockTimeout(f"took longer than its timeout of {block.timeout:g} s")
        except Exception as error:
            note_place(error, block.path, index)
            raise

    async def pause(self, seconds: float) -> None:
        """Wait before something is run again.

        Cancellation: ends the waiting, also one that what was run before has swallowed.
        """
        if self.asked():
            await self.end_again()
        await anyio.sleep(seconds)

    async def end_again(self) -> None:
        """Raise the cancellation that the scheduler has asked for: what ran before has swallowed it, and is over."""
        await anyio.lowlevel.checkpoint()  # where a scope of anyio repeats it by itself
        raise Cancelled("a cancellation that was swallowed")

    async def run_job(self, block: Runnable) -> Any:
        """Run the top-level block of a job and return its output, as what may leave the attempt: without secrets.

        Its timeout does not count here: it is the attempt's.

        Cancellation: as in `run`.

        Raises:
            SecretHidden: it failed with an error that held a secret.
        """
        try:
            return self.context.secrets.hide_in(await self.run(block, timed=False))
        except Exception as error:
            hidden = without_secrets(error, self.context.secrets)
            if hidden is error:
                del hidden  # whose traceback keeps this frame: a cycle
                raise
        try:
            raise hidden from None
        finally:
            del hidden  # as above

    async def call(self, handler: Handler, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Call a handler, async in the loop and sync in a worker thread, and return its output as plain data.

        Cancellation: an async handler is cancelled; a sync one is asked to stop and waited for.
        """
        return to_plain(await call_handler(handler, args, kwargs, self), f"the output of {self.path}")

    def with_names(self, names: Mapping[str, Any]) -> Frame:
        """Return this frame with further names."""
        return replace(self, names={**self.names, **names})

    def renamed(self, names: Mapping[str, Any]) -> Frame:
        """Return this frame with other names instead of its own."""
        return replace(self, names=names)

    def moved(self, directory: Path) -> Frame:
        """Return this frame in another directory."""
        return replace(self, directory=directory)

    def resolve(self, value: Any) -> Any:
        """Return a compiled value with its expressions filled in."""
        return resolve(value, self.names, self.context.secrets.read)

    def setting(self, value: Any, problem: Callable[[Any], str | None], what: str) -> Any:
        """Return a number of the flow that may be an expression, checked now that it is known.

        Raises:
            ExpressionError: it is not such a number.
        """
        number = self.resolve(value)
        if message := problem(number):
            raise ExpressionError(f"{what}: {message}")
        return number

    def log(self, message: str) -> None:
        """Add a line to the job's log."""
        self.context.log(message)

    def count_done(self, path: str, total: int) -> None:
        """Count one part of the job as done, when the block at *path* is the job's own."""
        if path == self.job_path:
            self.context.count_done(total)

    def abandoned_something(self, error: BaseException) -> bool:
        """Return whether what failed still runs: then nothing may be started in its place."""
        return abandoned_something(error)

    def is_final(self, error: BaseException) -> bool:
        """Return whether what failed may not be tried again."""
        return is_final(error)


async def call_handler(handler: Handler, args: list[Any], kwargs: dict[str, Any], frame: Frame) -> Any:
    """Call a handler where it belongs and return what it returns."""
    if handler.is_async and not handler.wants_context:
        return await in_one_way(frame.asked, handler, handler.function, *args, **kwargs)
    return await in_one_way(frame.asked, handler, _call_in_scope, handler, args, kwargs, frame)


async def _call_in_scope(handler: Handler, args: list[Any], kwargs: dict[str, Any], frame: Frame) -> Any:
    """Call a handler that needs a scope of its own, for its context or its thread."""
    stop = threading.Event()
    complete = False
    async with frame.scope.child(frame.path or handler.name) as scope:
        if handler.wants_context:
            kwargs = {**kwargs, "context": Context(frame.context, frame.path, scope, stop)}
        function = functools.partial(handler.function, *args, **kwargs)
        if handler.is_async:
            result = await in_this_process(function)
        else:
            # The release's own bound is a little shorter than the scope's, so that its error says what is abandoned.
            end = functools.partial(ThreadCall.end, name=handler.name, timeout=0.9 * scope.close_timeout)
            function = functools.partial(call_in_thread, function, handler)
            call = await scope.acquire(ThreadCall, function, stop, release=end, name=f"thread of {handler.name}")
            result = await call.run(frame.limiter)
        complete = frame.asked() or not being_cancelled()
    if not complete:  # its scope has taken back the cancellation, which it had asked for
        raise HandlerError(f"{handler} was cancelled from inside: it cancelled its own scope")
    return _checked(result, handler)


def _checked(result: Any, handler: Handler) -> Any:
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(f"handler {handler.name!r} returned a coroutine; declare it with async def")
    return result
