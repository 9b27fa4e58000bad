"""What an owner logs costs it nothing, whatever the program does with the records."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lifecycle._ground.logs import OwnerLog, print_line

log = OwnerLog("lifecycle.test")


class Failing(logging.Handler):
    """A handler whose ``emit`` lets its error out."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("the collector is away")


@pytest.fixture
def failing() -> Iterator[None]:
    """A failing handler on the logger."""
    handler = Failing()
    log.logger.addHandler(handler)
    yield
    log.logger.removeHandler(handler)


@pytest.mark.usefixtures("failing")
def test_the_error_of_a_handler_does_not_reach_the_owner(capsys: pytest.CaptureFixture[str]) -> None:
    """It is told on stderr, with the event and with the error that was to be logged."""
    log.error("task abandoned", exc_info=ValueError("no mail"), extra={"owner": "mail"})
    try:
        raise ValueError("no post")
    except ValueError:
        log.exception("hook failed")
    told = capsys.readouterr().err
    assert told.startswith("lifecycle: the event 'task abandoned' could not be logged\n")
    assert told.count("OSError: the collector is away") == 2
    assert "ValueError: no post" in told


@pytest.mark.usefixtures("failing")
def test_a_program_may_want_no_word_of_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As `logging` has it: where ``raiseExceptions`` is false, such errors are passed over."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.error("task abandoned")
    assert capsys.readouterr().err == ""


def test_a_record_that_has_our_field_already_is_logged_without_ours(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program's record factory comes first; the event and the error are told all the same."""
    make = logging.getLogRecordFactory()

    def with_owner(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        record.owner = "the program"
        return record

    monkeypatch.setattr(logging, "_logRecordFactory", with_owner)
    error = ValueError("no mail")
    log.error("task abandoned", exc_info=error, extra={"owner": "mail"})
    (record,) = caplog.records
    assert (record.getMessage(), vars(record)["owner"]) == ("task abandoned", "the program")
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_a_record_is_of_the_line_that_logged_it(caplog: pytest.LogCaptureFixture) -> None:
    """And not of the logger's own file."""
    log.warning("loan held too long", extra={"owner": "pool"})
    (record,) = caplog.records
    assert (record.pathname, record.funcName) == (__file__, "test_a_record_is_of_the_line_that_logged_it")


class Full(io.StringIO):
    """A stream on a full device."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def closed() -> io.StringIO:
    """Return a stream that is closed."""
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, Full(), closed()], ids=["none", "full", "closed"])
def test_a_line_for_stderr_goes_there_or_nowhere(
    stream: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a stderr that takes it, it is lost; it never ends up in the program's output."""
    monkeypatch.setattr(sys, "stderr", stream)
    print_line("still running, abandoned: mail")
    assert capsys.readouterr().out == ""
