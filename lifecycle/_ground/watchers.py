"""What hooks and handlers of errors raise: it is told, and reaches neither their owner nor other hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import kernel
from .foreign import is_fatal

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
