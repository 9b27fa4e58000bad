"""Showing a run to people and machines: live on a terminal, plain lines, or one JSON object per line."""

from __future__ import annotations

import sys

from ._display import Display
from ._json import JsonDisplay
from ._plain import PlainDisplay

__all__ = ["Display", "JsonDisplay", "PlainDisplay", "choose_display"]


def choose_display(*, as_json: bool) -> Display:
    """Return the display that fits where the output goes."""
    if as_json:
        return JsonDisplay()
    if not sys.stdout.isatty():
        return PlainDisplay()
    from ._live import LiveDisplay

    return LiveDisplay()
