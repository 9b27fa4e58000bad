"""Reading a flow file: TOML or JSON into plain tables, lists, strings, numbers and booleans."""

from __future__ import annotations

import codecs
import json
import math
import re
import tomllib
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeAlias

from .._ground.errors import FlowError
from .._ground.limits import FLOW_BYTES, STRING_CHARACTERS, VALUE_DEPTH
from .._ground.odd_files import odd_kind
from .._ground.text import quote
from .problems import Problems

Table: TypeAlias = dict[str, Any]

MOMENTS: Final = ("schedule.starts", "schedule.ends")
"""Where a date or a time may stand, which is no part of what a flow does; a datetime is a date."""

_LARGEST_INTEGER = 2**63 - 1
_MANY_DIGITS = re.compile(r"[0-9_]{4000,}")

_PART = r"""(?:[A-Za-z0-9_-]++|"[^"\\\n]*+"|'[^'\n]*+')[ \t]*+"""
_DEEP_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*+(?:{_PART}\.[ \t]*+){{{VALUE_DEPTH}}}", re.MULTILINE)
"""Where a key of too many parts begins: reading it would take the square of their number."""


def read_document(path: Path) -> Table:
    """Return the plain content of the flow file at *path*; a name that ends in ``.json`` is read as JSON.

    Raises:
        FlowError: the file cannot be read, is not TOML or JSON, or holds a value that a flow cannot use.
    """
    problems = Problems(path.name or str(path))
    text = _read_text(path, problems)
    document = _parse(text, path.suffix.lower() == ".json", problems)
    check_plain(document, "", problems)
    problems.raise_if_any()
    return document


def _read_text(path: Path, problems: Problems) -> str:
    content = b""
    try:
        kind = odd_kind(path)
        if kind is None:
            with path.open("rb") as file:
                content = file.read(FLOW_BYTES + 1)
    except OSError as error:
        raise _refusal(problems, f"cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a null character in the name
        raise _refusal(problems, f"cannot be read: {error}") from None
    if kind is not None:
        raise _refusal(problems, f"cannot be read: it is {kind}")
    if len(content) > FLOW_BYTES:
        raise _refusal(problems, f"is larger than {FLOW_BYTES:,} bytes")
    if not content.strip():
        raise _refusal(problems, "is empty; expected a flow with at least one block, [blocks.NAME]")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _refusal(problems, "is not a UTF-8 text but one of UTF-16 or UTF-32; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")  # what editors on Windows write begins with a mark of the byte order
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refusal(problems, f"is not a UTF-8 text (byte {error.start}, at line {line})") from None


def _parse(text: str, is_json: bool, problems: Problems) -> Table:
    language = "JSON" if is_json else "TOML"
    if not is_json and (key := _DEEP_KEY.search(text)):
        place = f"at line {text.count(chr(10), 0, key.end()) + 1}"
        raise _refusal(problems, f"is not usable TOML: a key of more than {VALUE_DEPTH} parts ({place})")
    try:
        document = _parse_json(text) if is_json else tomllib.loads(text)
    except RecursionError:
        raise _refusal(problems, f"is not usable {language}: nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, JSONDecodeError, duplicate keys, an integer of 5,000 digits
        detail = _huge_integer(text) if "int_max_str_digits" in str(error) else str(error)
        raise _refusal(problems, f"is not valid {language}: {detail}") from None
    if not isinstance(document, dict):
        raise _refusal(problems, f"expected a table at the top, got {quote(document)}")
    return document


def _huge_integer(text: str) -> str:
    """Return what is wrong with the first number in *text* that Python is not willing to read."""
    found = _MANY_DIGITS.search(text)
    place = f" (at line {text.count(chr(10), 0, found.start()) + 1})" if found else ""
    return f"an integer of thousands of digits{place}"


def _parse_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_table_without_duplicates)


def _table_without_duplicates(pairs: list[tuple[str, Any]]) -> Table:
    table = dict(pairs)
    if len(table) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"the name {quote(twice)} is used twice in one object")
    return table


def _refusal(problems: Problems, message: str) -> FlowError:
    return FlowError([f"{problems.source}: {message}"])


def check_plain(value: object, path: str, problems: Problems, depth: int = 0) -> None:
    """Add a problem for each value under *value* that a flow cannot hold."""
    if depth > VALUE_DEPTH:
        problems.add(path, f"nested deeper than {VALUE_DEPTH} levels")
    elif isinstance(value, dict):
        for key, child in value.items():
            check_plain(child, _join(path, key, problems), problems, depth + 1)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            check_plain(child, f"{path}[{index}]", problems, depth + 1)
    elif not (path in MOMENTS and isinstance(value, date)):
        message = _scalar_problem(value)
        if message:
            problems.add(path, message)


def _join(path: str, key: object, problems: Problems) -> str:
    if not isinstance(key, str):
        problems.add(path, f"expected a string as a key, got {quote(key)}")
    elif len(key) > 200:
        problems.add(path, f"a key of {len(key):,} characters, at most 200 are allowed")
    return f"{path}.{key}" if path else str(key)


def _scalar_problem(value: object) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _string_problem(value)
    if isinstance(value, int):
        return None if abs(value) <= _LARGEST_INTEGER else "an integer of more than 64 bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"expected a finite number, got {value}"
    return f"expected a string, number, boolean, list or table, got a {type(value).__name__}; write it as a string"


def _string_problem(value: str) -> str | None:
    if len(value) > STRING_CHARACTERS:
        return f"a string of {len(value):,} characters, at most {STRING_CHARACTERS:,} are allowed"
    if "\0" in value:
        return "a string with a null character"
    if not value.isascii() and any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        return "a string that is not valid Unicode (a lone surrogate)"
    return None
