"""Secrets: what ``${env:NAME}`` gives to a block, and what keeps it out of logs, results and errors.

A secret is read from the environment when a block needs it. From then on every text that leaves the attempt has it
replaced: log lines, the output of commands, the result, and the error. Values are hidden as they are, and in the forms
in which they often come back: quoted, escaped, percent-encoded, in hexadecimal, in base64 at any place of a longer
text, and line by line.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import urllib.parse
from collections.abc import Iterable
from typing import Any, Final

from .errors import ExpressionError
from .text import SecretText

HIDDEN: Final = "***"
"""What stands in the place of a secret."""

SHORTEST: Final = 4
"""A shorter value cannot be hidden: it would be found everywhere."""

_SHORTEST_LINE: Final = 8


def secret_problem(name: str) -> str | None:
    """Return why the environment variable *name* cannot be used as a secret, or None; without its value."""
    value = os.environ.get(name)
    if value is None:
        return f"${{env:{name}}}: the environment variable {name} is not set"
    if len(value) < SHORTEST:
        return f"${{env:{name}}}: a value of fewer than {SHORTEST} characters could not be kept out of logs"
    return None


class Secrets:
    """The secrets that one attempt of a job has read."""

    __slots__ = ("_forms", "_values")

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._forms: tuple[str, ...] = ()

    def expect(self, names: Iterable[str]) -> None:
        """Hide the values of these variables from now on, wherever they come from; without those that are not set."""
        for name in names:
            if secret_problem(name) is None:
                self.read(name)

    def read(self, name: str) -> str:
        """Return the value of an environment variable, and hide it from now on.

        Raises:
            ExpressionError: it is not set, or too short to be hidden.
        """
        if problem := secret_problem(name):
            raise ExpressionError(problem)
        value = os.environ[name]
        if value not in self._values:
            self._values.add(value)
            forms = {form for known in self._values for form in _forms_of(known)}
            self._forms = tuple(sorted(forms, key=len, reverse=True))  # a part of a form is not replaced before it
        return SecretText(value)

    @property
    def forms(self) -> tuple[str, ...]:
        """What is to be hidden, the longest first."""
        return self._forms

    def hide(self, text: str) -> str:
        """Return *text* with every secret in it replaced."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        return text

    def hide_in(self, value: Any) -> Any:
        """Return plain data with every secret in it replaced, also in keys."""
        if not self._forms:
            return value
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, list):
            return [self.hide_in(item) for item in value]
        if isinstance(value, dict):
            return {self.hide(key): self.hide_in(item) for key, item in value.items()}
        return value

    def clear(self) -> None:
        """Drop everything."""
        self._values.clear()
        self._forms = ()


def _forms_of(value: str) -> Iterable[str]:
    lines = [line.strip() for line in value.splitlines()]
    for text in {value, value.strip(), *(line for line in lines if len(line) >= _SHORTEST_LINE)}:
        if len(text) < SHORTEST:
            continue
        yield text
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]
        yield repr(text)[1:-1]
        yield shlex.quote(text)
        for quoted in _percent_encoded(text):
            yield quoted
            yield _ESCAPE.sub(lambda escape: escape[0].lower(), quoted)  # as some peers write it
        encoded = text.encode("utf-8", "surrogateescape")
        yield encoded.hex()
        yield encoded.hex().upper()
        for form in _in_base64(encoded):
            yield form
            yield form.translate(_URL_SAFE)


def _percent_encoded(text: str) -> Iterable[str]:
    yield urllib.parse.quote(text, safe="", errors="surrogatepass")
    yield urllib.parse.quote(text, errors="surrogatepass")
    yield urllib.parse.quote_plus(text, errors="surrogatepass")


_ESCAPE: Final = re.compile("%[0-9A-F]{2}")

_URL_SAFE: Final = str.maketrans("+/", "-_")


def _in_base64(encoded: bytes) -> Iterable[str]:
    """Yield what base64 makes of *encoded* alone, and inside of a longer text, where it may begin at three places.

    There the characters at both ends hold bits of the neighbours as well, and cannot be known.
    """
    yield base64.b64encode(encoded).decode()
    for before in range(3):
        length = before + len(encoded)
        text = base64.b64encode(bytes(before) + encoded).decode()
        first = (before * 8 + 5) // 6
        last = length * 8 // 6
        if last - first >= SHORTEST:
            yield text[first:last]


class HiddenBytes:
    """Replaces secrets in a stream of bytes, also those that come in two pieces.

    Args:
        forms: what is to be hidden, the longest first.
    """

    def __init__(self, forms: Iterable[str]) -> None:
        self._forms = [form.encode("utf-8", "surrogateescape") for form in forms]
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return what can go on after the next bytes: all but an end that may be the beginning of a secret."""
        if not self._forms:
            return chunk
        data = self._rest + chunk
        for form in self._forms:
            data = data.replace(form, HIDDEN.encode())
        kept = self._beginning_at_end(data)
        self._rest = data[len(data) - kept :]
        return data[: len(data) - kept]

    def rest(self) -> bytes:
        """Return what was held back, when nothing more comes."""
        rest, self._rest = self._rest, b""
        return rest

    def _beginning_at_end(self, data: bytes) -> int:
        """Return how many bytes at the end could be the beginning of a secret."""
        most = 0
        for form in self._forms:
            place = data.find(form[:1], max(0, len(data) - len(form) + 1))
            while 0 <= place < len(data) - most:
                if form.startswith(data[place:]):
                    most = len(data) - place
                    break
                place = data.find(form[:1], place + 1)
        return most
