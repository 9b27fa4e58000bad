"""Failures: what one close of a scope has met, and how much of it a context manager sees when it is left.

Errors are collected in order. A cancellation is kept apart from them: it is not a failure of anything, and it must
reach its task exactly once.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import Protocol

from .._ground import kernel
from .._ground.errors import failure_of
from .._ground.foreign import carries, combine, forget_context, is_fatal

#: How many errors a context manager sees side by side; of more, it sees groups of as many.
BUNDLE = 100


class Named(Protocol):
    """What failed."""

    @property
    def label(self) -> str:
        """What a person calls it."""


class Failures:
    """The errors of one close, and the cancellation that it has to deliver.

    Attributes:
        errors: what went wrong, in order; shared with the scope, whose tasks may still fail.
        cancellation: the cancellation to deliver in the end, if any.
    """

    # Defaults on the class, because most closes meet nothing.
    errors: list[BaseException]
    cancellation: CancelledError | None = None
    _scope: object  # for words
    _body_error: BaseException | None = None
    _given: BaseException | None = None  # what the context manager that is being left has been given
    _bundles: list[BaseException] | None = None  # of the first errors, as many as fill one
    _fatal = False  # whether one of these ends the process

    def error(self) -> BaseException | None:
        """Return the one error that carries all that went wrong, None when nothing did."""
        return combine(self._title, self.errors) if self.errors else None

    def hold(self, cancellation: CancelledError | None) -> None:
        """Keep *cancellation* for the end."""
        self.cancellation = kernel.foremost(self.cancellation, cancellation)

    def conclusion(self) -> tuple[list[BaseException], CancelledError | None]:
        """Return what went wrong and the cancellation to deliver, and keep neither: their frames lead back here."""
        errors, self.errors = self.errors, []
        cancellation, self.cancellation = self.cancellation, None
        self._given = self._body_error = self._bundles = None
        return errors, cancellation

    @property
    def _title(self) -> str:
        return f"errors while closing {self._scope}"

    def _in_flight(self) -> BaseException | None:
        """Return the error that a context manager sees when it is left now."""
        if len(self.errors) > BUNDLE:
            return self._bundled_errors()
        return self.error() if self.errors else self.cancellation

    def _bundled_errors(self) -> BaseException:
        """Return all errors as one: to put each beside each other, again and again, would take the square of them."""
        if self._bundles is None:
            self._bundles = []
        bundles = self._bundles
        while len(self.errors) >= (len(bundles) + 1) * BUNDLE:
            begin = len(bundles) * BUNDLE
            bundles.append(combine(self._title, self.errors[begin : begin + BUNDLE]))
            self._fatal = self._fatal or is_fatal(bundles[-1])
        recent = self.errors[len(bundles) * BUNDLE :]
        if self._fatal or any(map(is_fatal, recent)):  # which is met alone
            return combine(self._title, self.errors)
        return BaseExceptionGroup(self._title, [*bundles, *recent])

    def _take_body_error(self, error: BaseException) -> None:
        self._body_error = error
        if isinstance(error, CancelledError):
            self.cancellation = error
        else:
            self.errors.insert(0, error)

    def _take_error(self, entry: Named, error: BaseException) -> None:
        if error is self._given:
            pass
        elif self._given is not None and carries(error, self._given):
            self.errors[:] = [error]
            self._bundles = None
        else:
            self._add_failure(entry, error)

    def _add_failure(self, entry: Named, error: BaseException) -> None:
        """Add the error of a release; a cancellation that it raises by itself is a failure, and not the host's."""
        self._add_error(failure_of(entry.label, error))

    def _add_error(self, error: BaseException) -> None:
        """Add an error; the body's, once suppressed, is not its context, though it is still being handled."""
        self.errors.append(error)
        body = self._body_error
        if body is not None and self.errors[0] is not body:
            forget_context(error, body)

    def _suppress(self) -> None:
        """Forget what the context manager that was left has been given: it has said so."""
        self.errors.clear()
        self._bundles = None
        if isinstance(self._given, CancelledError):
            self.cancellation = None
