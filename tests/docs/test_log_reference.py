"""The page on what is logged knows every event of the package, and each says whose it is."""

import ast
import re
from collections.abc import Iterator

from ..tracked import ROOT, tracked

PAGE = ROOT / "docs" / "reference" / "logging.md"

#: The level of what a method logs. `report_error` is that of registries and pools.
LEVELS = {"exception": "error", "report_error": "error"} | {
    level: level for level in ("debug", "info", "warning", "error", "critical")
}

#: The functions that log an error, with the log before the event.
TELLING = ("tell_failure", "tell_task_failure")

#: The methods that tell an event now and then.
ALARMS = ("alarm", "_alarm")

_ROW = re.compile(r"^\| (?:`lifecycle\.\w+`)? ?\| (`.+?`) \| (\w+) \|", re.MULTILINE)


def logged() -> Iterator[tuple[str, str]]:
    """Yield what the package logs, as event and level; but not the sentences in which the command line tells events."""
    for path in tracked():
        if path.suffix != ".py" or not path.is_relative_to(ROOT / "lifecycle"):
            continue
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match call:
                case ast.Call(func=ast.Attribute(value, method), args=[ast.Constant(str(event)), *_]) if (
                    method == "report_error" or (method in LEVELS and ast.unparse(value).endswith(("logger", "log")))
                ):
                    if "%" not in event:
                        yield event, LEVELS[method]
                case ast.Call(func=ast.Attribute(value, method), args=[ast.Constant(str(event)), *_]) if (
                    method in ALARMS or (method == "tell" and ast.unparse(value).endswith("alarms"))
                ):
                    yield event, "warning"
                case ast.Call(func=ast.Name(name), args=[_, ast.Constant(str(event)), *_]) if name in TELLING:
                    yield event, "error"


def test_every_event_of_the_log_is_in_the_reference() -> None:
    """The page names each event with its level, and none that is not logged."""
    rows = _ROW.findall(PAGE.read_text(encoding="utf-8"))
    told = {(event, level) for events, level in rows for event in re.findall(r"`(.+?)`", events)}
    assert told == set(logged())
