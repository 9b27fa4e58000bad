"""The single errors that a group is made of."""

from __future__ import annotations

from collections.abc import Iterator


def leaves(error: BaseException | None) -> Iterator[BaseException]:
    """Yield all that is in a group, as often as it is in there; an error that is none, by itself; nothing for None."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    elif error is not None:
        yield error
