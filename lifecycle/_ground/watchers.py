"""What is told of errors that no caller gets: those of hooks and handlers, which reach no owner, and those of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import kernel
from .foreign import in_words, is_fatal

if TYPE_CHECKING:
    from .logs import OwnerLog


def tell_failure(log: OwnerLog, event: str, error: BaseException, **about: object) -> None:
    """Log what a hook has raised, whatever it is; what ends the process does so, after the step that it was called in.

    A cancellation is no exception: the step that a hook is called in belongs to some task, or to none, and the hook did
    not mean that one.
    """
    if is_fatal(error):
        if not kernel.has_loop():
            raise error
        kernel.end_process(error)
    else:
        log.error(event, exc_info=error, extra=about)


def tell_task_failure(log: OwnerLog, event: str, error: BaseException, **about: object) -> None:
    """Log what a task has failed with, which nobody awaits.

    One that has called ``sys.exit`` has not failed: the process ends by what it has raised, as it would by the same
    call in main, and with no more noise. Only who wants to know is told which task that was.
    """
    if is_fatal(error):
        log.info("task ends the process", extra={**about, "error": in_words(error)})
    else:
        log.error(event, exc_info=error, extra=about)
