"""The libraries that ours stands beside: one that is not installed is left out, and the others are measured."""

from __future__ import annotations

import importlib
from typing import Any, NoReturn


class NotInstalled(Exception):
    """A peer was to be used and is not there."""


class Missing:
    """Stands for a peer that is not there, and for everything in it, until it is called."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Missing:
        return self

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        raise NotInstalled(f"{self._name} is not installed")


def peer(name: str) -> Any:
    """Import a peer, or return what raises NotInstalled as soon as something of it is called."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or name.partition(".")[0] != error.name.partition(".")[0]:
            raise
        return Missing(error.name)
