"""How the block of a group ends: with which errors, and what of them are requests."""

from __future__ import annotations

from asyncio import CancelledError

from .._ground import kernel
from .._ground.foreign import add_context, distinct, is_fatal


def raise_together(group: object, errors: list[BaseException], in_flight: BaseException | None) -> None:
    """Raise *errors* of *group*; return to let *in_flight*, with which the body was left, go on."""
    errors = distinct(errors)
    fatal = next(filter(is_fatal, errors), None)
    if fatal is None:
        raise BaseExceptionGroup("unhandled errors in a TaskGroup", errors) from None
    others = [error for error in errors if error is not fatal]
    if others:
        add_context(fatal, BaseExceptionGroup(f"other errors in {group}", others))
    kernel.conclude(fatal, None, in_flight)


def is_request(error: BaseException) -> bool:
    """Return whether *error* asks a block to end, and is not a failure of it."""
    return isinstance(error, (CancelledError, GeneratorExit))
