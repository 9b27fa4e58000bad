"""How a scope ends: what interrupts its body, and who closes it, once, whoever asks."""

from __future__ import annotations

from asyncio import CancelledError, Future, Task
from typing import Any

from .._ground import kernel, trace
from .._ground.surely import run_surely
from .._task.body import Body
from .._task.waiting import closing_tasks
from .entries import logger
from .ledger import CLOSED, CLOSING, OPEN, Ledger
from .unwind import Unwinding


class EndingLedger(Ledger):
    """A ledger that can be closed: by the end of a body, by anybody's ``aclose``, or by an error of what it holds."""

    _closing_in: Task[Any] | None = None
    _closing_begun: Future[None] | None = None
    _closing_ended: Future[None] | None = None
    _body: Body | None = None  # of the async with block, once it is entered

    async def aclose(self) -> None:
        """Stop the tasks and release the resources, newest first; from any task, and final. Idempotent.

        A second caller waits for the first. A task of the scope that closes it is neither stopped nor waited for.

        Cancellation: held back until everything is released, then raised, once; ``Task.cancelling()`` stays exact.
        Should a release fail as well, its error is raised here and the cancellation at the caller's next suspension.
        A second caller just stops waiting.

        Raises:
            BaseException: the single error of a task or a release, as it is.
            BaseExceptionGroup: several of them, all.
            ReleaseTimeout: a release took longer than ``close_timeout``.
        """
        kernel.conclude(*await self._close(None, through=False))

    def cancel(self, reason: str | None = None) -> None:
        """Ask the scope to end: interrupt its body, which ends the block without an error, or close it if it has none.

        Without a body the closing runs in the background; what it meets is raised by `aclose`.
        """
        if self._state is OPEN:
            self._interrupt(reason or f"{self} was cancelled")

    def _offer(self, entry: Any) -> None:
        """Take an entry that stands for something acquired already: a closed scope releases it at once and refuses."""
        self._own(entry)
        if self._state is not OPEN:
            if self._state is CLOSED:
                run_surely(self._close_alone, f"late release by {self}")
            self._check_open(entry.label)

    # Failing and interrupting

    def _record_error(self, error: BaseException) -> None:
        if self._state is CLOSED:
            logger.error("error after %s was closed", self, exc_info=error)
        else:
            self._errors.append(error)

    def _fail(self, error: BaseException, reason: str) -> None:
        """Take the error of something that we own, and end the body: what it stands on is gone."""
        self._record_error(error)
        if self._state is OPEN:
            self._interrupt(reason)

    def _interrupt(self, reason: str) -> None:
        body = self._running_body()
        if body is not None:
            body.interrupt(reason)
        else:
            run_surely(self._close_alone, f"closer of {self}")

    def _running_body(self) -> Body | None:
        return self._body if self._body is not None and self._state is OPEN and not self._body.host.done() else None

    # Closing

    async def _close(
        self, error: BaseException | None, held: CancelledError | None = None, *, through: bool
    ) -> tuple[BaseException | None, CancelledError | None]:
        """Empty the ledger; return the error that carries all errors, and the cancellation to deliver.

        A close in progress is waited for: *through* every cancellation at the end of the block, whose owner this is;
        elsewhere a cancellation ends the waiting, because the first closer may itself be waiting for this task.
        """
        if self._closing_in is not None:
            if self._closing_in in closing_tasks():
                return error, None  # a release closes the very scope that waits for it
            self._closing_ended = self._closing_ended or kernel.new_future()
            if through:
                held = await kernel.wait_through(self._closing_ended) or held
            else:
                await kernel.wait_shielded(self._closing_ended)
        unwinding = Unwinding(self, error)
        if held is not None:
            unwinding.hold(held)
        if self._ledger or self._state is OPEN:
            await self._unwind(unwinding)
        failure = unwinding.error()
        self._errors = []
        return failure, unwinding.cancellation

    async def _unwind(self, unwinding: Unwinding) -> None:
        self._state = CLOSING
        self._closing_in = kernel.current_task()
        if self._closing_begun is not None:
            self._closing_begun.set_result(None)
        try:
            unwinding.call_callbacks()
            if self._ledger or unwinding.unfinished:
                await unwinding.run()
        finally:
            self._state = CLOSED
            self._closing_in = None
            if self._closing_ended is not None:
                self._closing_ended.set_result(None)
                self._closing_ended = None
            place, self._place = self._place, None
            if place is not None:
                place.leave()
            if self._token is not None:
                trace.closed(self._token)
                self._token = None

    async def _close_alone(self) -> None:
        """Close where nobody waits; the errors go to the parent, or wait for the end of the block or `aclose`."""
        place = self._place
        failure, _ = await self._close(None, through=False)
        if failure is None:
            return
        if place is not None and not place.parent.closed:
            place.parent._fail(failure, f"{self} failed")
        else:
            self._errors.append(failure)
            logger.error("%s failed and has been closed; its end raises the error", self, exc_info=failure)

    async def _close_for_parent(self) -> None:
        """Close in the parent's turn; a body that runs in some other task is ended first."""
        body = self._running_body()
        if body is not None and body.host not in closing_tasks():
            self._closing_begun = kernel.new_future()
            self._interrupt(f"the parent of {self} is closing")
            await kernel.wait(self._closing_begun, self.close_timeout)
        await self.aclose()
