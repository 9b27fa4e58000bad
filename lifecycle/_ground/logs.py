"""Log records on stderr, with all that they say, for a process that has not set up its logging."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from typing_extensions import override

_STANDARD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})


class EventLines(logging.Formatter):
    """The constant event of a record, and in brackets the fields that say what it is about."""

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line; an exception follows below it, as in every formatter."""
        fields = [(name, value) for name, value in vars(record).items() if name not in _STANDARD]
        about = " ".join(f"{name}={value}" for name, value in fields if value not in (None, ()))
        return f"{record.message} [{about}]" if about else record.message


@contextmanager
def shown_on_stderr() -> Iterator[None]:
    """Show warnings and errors of this package, as long as the program has not said what becomes of log records.

    Python's last resort would show the events alone: "task abandoned", and not which. A program that sets up its
    logging meanwhile, with ``logging.basicConfig`` for instance, gets each record once, and in its own form.
    """
    logger = logging.getLogger("lifecycle")
    if logger.hasHandlers():
        yield
        return
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(EventLines())
    handler.addFilter(lambda record: not logging.getLogger().handlers)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
