"""The log of a service: standard logging on standard error, as single lines for people or as JSON for machines."""

from __future__ import annotations

import functools
import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from ...scheduler import JobLogFilter
from ...scheduler._ground.text import harmless, one_line

LEVELS: Final = ("debug", "info", "warning", "error")

_STANDARD: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})

_TALKATIVE: Final = ("httpx", "httpcore")
"""These log the addresses and headers of requests, in which secrets of flows may be: warnings and errors only."""

_IN_THE_SENTENCE: Final = frozenset({"event", "job", "status", "seconds", "error", "flow"})
"""Extra fields of a job's events, whose message is a sentence that has them already."""


COMMANDS: Final = {"unfinished run of another version of the flow left alone": "lifecycle jobs cancel --run {run}{db}"}
"""By event: the command that does what the record's ``advice`` says, which the library does not know."""


@contextmanager
def logging_to_stderr(level: str, *, as_json: bool, db: str = "") -> Iterator[None]:
    """Send what this process logs to standard error meanwhile, from *level* on.

    Args:
        level: the lowest that is sent.
        as_json: as objects for machines.
        db: the option ``--db`` of the commands that it names.
    """
    root = logging.getLogger()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else PlainLines())
    handler.addFilter(JobLogFilter())
    handler.addFilter(functools.partial(_name_command, db=db))
    before = {name: logging.getLogger(name).level for name in _TALKATIVE}
    root_level = root.level
    number = logging.getLevelNamesMapping()[level.upper()]
    root.addHandler(handler)
    root.setLevel(number)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    try:
        yield
    finally:
        for name, old in before.items():
            logging.getLogger(name).setLevel(old)
        root.setLevel(root_level)
        root.removeHandler(handler)


@contextmanager
def job_log_in_last_resort() -> Iterator[None]:
    """Hide secrets of jobs meanwhile in what is logged where nobody has set up logging, which Python itself writes."""
    added, handler = JobLogFilter(), logging.lastResort
    if handler is not None:
        handler.addFilter(added)
    try:
        yield
    finally:
        if handler is not None:
            handler.removeFilter(added)


def _name_command(record: logging.LogRecord, *, db: str) -> bool:
    if isinstance(record.msg, str) and (command := COMMANDS.get(record.msg)):
        record.command = command.format(db=db, **extra_of(record))
    return True


def extra_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was given as ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class PlainLines(logging.Formatter):
    """One line for each record, whatever is in it: time, level, logger, message, and what it belongs to.

    Only the state of the process, which somebody has asked for, has lines below.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.fromtimestamp(record.created).astimezone().isoformat(sep=" ", timespec="milliseconds")
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {_cause(record.exc_info[1])}"
        extra = extra_of(record)
        state = extra.pop("state", "")
        # All of them: every record has some, as those of jobs that the filter adds, and says nothing of them.
        said = _IN_THE_SENTENCE if extra.keys() >= _IN_THE_SENTENCE else frozenset()
        shown = " ".join(f"{name}={value}" for name, value in extra.items() if value is not None and name not in said)
        line = one_line(f"{at} {record.levelname:<7} {record.name}: {text}{f' [{shown}]' if shown else ''}")
        return f"{line}\n{harmless(state)}" if isinstance(state, str) and "\n" in state else line


class JsonLines(logging.Formatter):
    """One JSON object for each record: ``time``, ``level``, ``logger``, ``message``, extra fields, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object as one line."""
        table: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        table |= {name: value for name, value in extra_of(record).items() if value is not None and name not in table}
        if record.exc_info:
            table["exception"] = self.formatException(record.exc_info)
        return json.dumps(table, default=str).replace("\x7f", "\\u007f")  # the one that JSON leaves as it is


def _cause(error: BaseException) -> str:
    """Return an error and its place as a part of a line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
