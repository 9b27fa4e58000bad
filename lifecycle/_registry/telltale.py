"""Telltale: departures of which a user's function is told.

It is told when the step that has removed a value is over: in the loop's next turn, or before the first finalizer that
begins sooner. So it finds the books written, and may itself do anything with the registry. Registries without such a
function have the plain departures, and pay nothing for it.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Task
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, Generic, TypeVar

from typing_extensions import override

from .._ground import kernel
from .._ground.checks import checked_callable, checked_sync
from .._ground.foreign import in_words
from .._ground.watchers import tell_failure
from .._lender import Closing
from .departures import Departures
from .finalizing import TURN
from .registrations import Registration, RemovalCause
from .shelf import Shelf

K = TypeVar("K")
V = TypeVar("V")


class ToldDepartures(Departures[K, V], Generic[K, V]):
    """Departures that tell *on_removed* of every registration that has left."""

    __slots__ = ("_asked", "_on_removed", "_untold")

    def __init__(
        self,
        shelf: Shelf[K, V],
        closing: Closing,
        finalizer: Callable[[V], object] | None,
        on_removed: Callable[[Registration[K, V]], object],
    ) -> None:
        checked_sync(on_removed, "on_removed", takes=1)
        self._on_removed = on_removed
        self._untold: deque[Registration[K, V]] = deque()
        self._asked: AbstractEventLoop | None = None  # which is going to tell
        super().__init__(shelf, closing, None if finalizer is None else self._after_telling(finalizer))
        self._no_ending = False

    def _after_telling(self, finalizer: Callable[[V], object]) -> Callable[[V], object]:
        checked_callable(finalizer, "finalizer", takes=1)

        def end(value: V) -> object:
            while self._untold:
                self._tell_one()
            return finalizer(value)

        return end

    @override
    def dispose(self, registration: Registration[K, V], cause: RemovalCause) -> None:
        self._note(registration)
        super().dispose(registration, cause)

    @override
    def hand_out(self, registration: Registration[K, V], cause: RemovalCause) -> None:
        super().hand_out(registration, cause)
        self._note(registration)

    @override
    def forget_all(self, live: list[Registration[K, V]]) -> list[Registration[K, V]]:
        lost = super().forget_all(live)
        for registration in live:
            self._note(registration)
        return lost

    @override
    def resume(self) -> None:
        super().resume()
        self._tell_soon()

    @override
    def is_idle(self, exempt: frozenset[Task[Any]]) -> bool:
        return not self._untold and super().is_idle(exempt)

    @override
    def all_told(self) -> bool:
        return not self._untold

    def _note(self, registration: Registration[K, V]) -> None:
        self._untold.append(registration)
        self._tell_soon()

    def _tell_soon(self) -> None:
        if self._untold and kernel.has_loop():
            loop = kernel.running_loop()
            if self._asked is not loop:
                self._asked = loop
                loop.call_soon(self._tell_some, context=self._closing.home.context)

    def _tell_some(self) -> None:
        """Tell for a fraction of a millisecond; come back in the next turn where there is more."""
        self._asked = None
        ends = perf_counter() + TURN
        while self._untold:
            self._tell_one()
            if perf_counter() >= ends:
                self._tell_soon()
                break
        self._closing.progress()

    def _tell_one(self) -> None:
        registration = self._untold.popleft()
        try:
            self._on_removed(registration)
        except BaseException as error:
            tell_failure(
                self._closing.logger,
                "removal hook failed",
                error,
                owner=self._closing.owner_name,
                key=in_words(registration.key),
            )
