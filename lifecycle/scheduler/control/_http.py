"""Whether a line is HTTP: a web page can make its reader's browser send requests here, but they all look like that."""

from __future__ import annotations

import re

_HTTP = re.compile(
    rb"""\s*(?:
        (?:POST|PUT|PATCH|DELETE|HEAD|OPTIONS|TRACE|CONNECT|PRI)(?:\s|$)  # a method, no command of Redis
        | GET\s+/                                           # of the simplest kind, which names no version
        | [^\s:"']+:                                        # a header
        | \S+\s.*\sHTTP/\d(?:\.\d)?\s*$                     # any method
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_CONTROL = bytes({*range(32), 127} - set(b" \t\r\f\v\x00"))


def is_http(line: bytes) -> bool:
    """Return whether *line* is, or may be, a part of a request of HTTP."""
    return _HTTP.match(line) is not None


def is_binary(line: bytes) -> bool:
    """Return whether *line* has control characters: it belongs to TLS, or to another protocol that is not of lines."""
    return len(line.translate(None, _CONTROL)) < len(line)
