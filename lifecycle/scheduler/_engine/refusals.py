"""How many submissions were refused: each is an error of its sender alone, so that nobody else would know."""

from __future__ import annotations

from .._ground.errors import StoreError


class Refusals:
    """Counts what is refused in its block; the sender gets the error.

    Attributes:
        count: how often that was; not what failed with the store.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, StoreError):
            self.count += 1
