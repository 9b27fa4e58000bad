"""What owners log, and how it reaches stderr in a process that has not set up its logging; none of it ever raises."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from typing_extensions import override

_STANDARD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})


def print_line(message: str) -> None:
    """Print a line on stderr, where there is one: one that is closed, full or gone must not cost what goes on here."""
    if sys.stderr is not None:  # `print` would take stdout instead, which belongs to the program
        with suppress(OSError, ValueError):
            print(f"lifecycle: {message}", file=sys.stderr, flush=True)  # noqa: T201


class OwnerLog(logging.LoggerAdapter[logging.Logger]):
    """A logger that an owner may call between any two steps of its books: no record ever raises.

    Filters, handlers and record factories are the program's, and may raise. An owner that met their error in the middle
    of a close would lose the error that it was about to raise, or a slot that it was about to give back.
    """

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name))

    @override
    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log the event; where that fails, say so on stderr as `logging` does for a handler that fails."""
        if not self.isEnabledFor(level):
            return
        failure = self._attempt(level, msg, args, kwargs)
        if isinstance(failure, KeyError):  # the record has a field of its own by one of our names
            failure = self._attempt(level, msg, args, {**kwargs, "extra": None})
        if failure is not None and logging.raiseExceptions:
            told = "".join(traceback.format_exception(failure))
            print_line(f"the event {msg!r} could not be logged\n{told}")

    def _attempt(
        self, level: int, msg: object, args: tuple[object, ...], kwargs: Mapping[str, Any]
    ) -> Exception | None:
        try:
            self.logger.log(level, msg, *args, stacklevel=3, **kwargs)
        except Exception as failure:
            return failure
        return None


class EventLines(logging.Formatter):
    """The constant event of a record, and in brackets the fields that say what it is about."""

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line; an exception follows below it, as in every formatter."""
        fields = [(name, value) for name, value in vars(record).items() if name not in _STANDARD]
        about = " ".join(f"{name}={value}" for name, value in fields if value not in (None, ()))
        return f"{record.message} [{about}]" if about else record.message


def _is_handled(record: logging.LogRecord, *, beside: logging.Handler) -> bool:
    """Whether another handler gets the record, on whichever logger the program has put it."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(handler is not beside for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


@contextmanager
def shown_on_stderr() -> Iterator[None]:
    """Show warnings and errors of this package, as long as the program has not said what becomes of log records.

    Python's last resort would show the events alone: "task abandoned", and not which. A program that sets up its
    logging meanwhile, with ``logging.basicConfig`` or a handler on one of the package's loggers, gets each record once,
    and in its own form.
    """
    logger = logging.getLogger("lifecycle")
    if logger.hasHandlers():
        yield
        return
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(EventLines())
    handler.addFilter(lambda record: not _is_handled(record, beside=handler))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
