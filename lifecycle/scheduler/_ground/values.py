"""Plain values: what blocks hand to each other and what the store keeps, bounded in size."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from .errors import OutputNotPlain, OutputTooLarge
from .limits import RESULT_BYTES, VALUE_DEPTH

_OVERHEAD = 8
"""What a number, a boolean or the frame of a container counts for."""


def to_plain(value: object, what: str, limit: int = RESULT_BYTES) -> Any:
    """Return *value* as plain data: None, booleans, numbers, strings, lists, and tables with string keys.

    Dataclasses and mappings become tables; tuples, sets and frozensets lists; paths, dates, UUIDs and
    decimals strings; enumerations their value.

    Args:
        value: what a handler returned.
        what: what the errors call it.
        limit: bytes it may have, about.

    Raises:
        OutputNotPlain: something in it has no plain form; a TypeError.
        OutputTooLarge: it is larger than *limit*.
    """
    if _is_small(value):
        return value
    if type(value) is list and len(value) < _FEW and all(map(_is_small, value)):
        return list(value)
    return _Plain(what, limit).convert(value, 0)


_FEW = 16


def _is_small(value: object) -> bool:
    """Return whether a value is plain and small for certain: what nearly all arguments and results are."""
    kind = type(value)
    if kind is int:
        return -_SMALL_NUMBER < value < _SMALL_NUMBER  # type: ignore[operator]
    return value is None or kind is bool or (kind is str and len(value) < _SHORT)  # type: ignore[arg-type]


_SMALL_NUMBER, _SHORT = 2**62, 256


class _Plain:
    """Converts one value and stops as soon as it grows too large."""

    def __init__(self, what: str, limit: int) -> None:
        self.what = what
        self.limit = limit
        self.left = limit

    def convert(self, value: Any, depth: int) -> Any:
        if depth > VALUE_DEPTH:
            raise OutputNotPlain(f"{self.what}: nested deeper than {VALUE_DEPTH} levels (does it contain itself?)")
        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, (bool, int, str)):
            return self._scalar(value)
        if isinstance(value, float):
            return self._number(value)
        if isinstance(value, Mapping):
            return self._table(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            self.spend(_OVERHEAD)
            return [self.convert(item, depth + 1) for item in value]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return self._table(fields, depth)
        return self._scalar(self._text(value))

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise OutputTooLarge(
                f"{self.what} is larger than {self.limit:,} bytes; write it to a file and return the file's path"
            )

    def _scalar(self, value: bool | int | str | None) -> bool | int | str | None:
        if isinstance(value, str):
            value = str(value)  # a subclass of str would not come back from the store
            self.spend(len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass")))
        elif isinstance(value, int) and not isinstance(value, bool):
            if value.bit_length() > 4_096:
                raise OutputNotPlain(f"{self.what}: an integer of {value.bit_length():,} bits")
            value = int(value)
        self.spend(_OVERHEAD)
        return value

    def _number(self, value: float) -> float:
        if not math.isfinite(value):
            raise OutputNotPlain(f"{self.what}: {value} is not a finite number")
        self.spend(_OVERHEAD)
        return float(value)

    def _table(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        self.spend(_OVERHEAD)
        table = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise OutputNotPlain(f"{self.what}: expected strings as keys, got {type(key).__name__}")
            self.spend(len(key))
            table[str(key)] = self.convert(item, depth + 1)
        return table

    def _text(self, value: object) -> str:
        if isinstance(value, os.PathLike):
            path = os.fspath(value)
            return path if isinstance(path, str) else os.fsdecode(path)
        if isinstance(value, (date, datetime, time)):
            return value.isoformat()
        if isinstance(value, (UUID, Decimal)):
            return str(value)
        raise OutputNotPlain(
            f"{self.what}: a {type(value).__name__} has no plain form; return strings, numbers, lists, tables"
        )


def size_of(value: Any) -> int:
    """Return about how many bytes a plain value has."""
    if isinstance(value, str):
        return len(value) + _OVERHEAD
    if isinstance(value, list):
        return _OVERHEAD + sum(size_of(item) for item in value)
    if isinstance(value, dict):
        return _OVERHEAD + sum(len(key) + size_of(item) for key, item in value.items())
    return _OVERHEAD


class Kept:
    """Counts the outputs that one block keeps, and refuses the one that is too much.

    Args:
        what: what the error calls the outputs.
        limit: bytes they may have together.
    """

    def __init__(self, what: str, limit: int = RESULT_BYTES) -> None:
        self._what = what
        self._limit = limit
        self._left = limit

    def add(self, value: Any) -> None:
        """Count one more.

        Raises:
            OutputTooLarge: they are too large together.
        """
        self._left -= size_of(value)
        if self._left < 0:
            raise OutputTooLarge(
                f"{self._what}: the outputs are together larger than {self._limit:,} bytes; "
                "write them to files and return the files' paths"
            )


def to_json(value: Any) -> str:
    """Return a plain value as JSON text."""
    return _encode(value)


# ASCII only: a file name that is not UTF-8 holds lone surrogates, which SQLite would refuse as text.
_encode = json.JSONEncoder(separators=(",", ":")).encode
