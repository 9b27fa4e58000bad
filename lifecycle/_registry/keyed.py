"""Keyed: taking things out of a dict by what they are, also where their keys have become other ones since."""

from __future__ import annotations

from typing import Any, TypeVar

K = TypeVar("K")
T = TypeVar("T")


def take_out(kept: dict[K, T], key: K, thing: T) -> None:
    """Take *thing* out of *kept*, where it was put in under *key*, whose hash and equality may have changed since.

    Nothing is done where it is not in there. Where it is not found under its key, all are looked at, and put under what
    their keys are now; one whose key does not serve for that is put under itself.
    """
    try:
        if kept.get(key) is thing:
            del kept[key]
            return
    except Exception:
        pass
    others = [entry for entry in kept.items() if entry[1] is not thing]
    if len(others) == len(kept):
        return
    kept.clear()
    for other_key, other in others:
        put_in(kept, other_key, other)


def put_in(kept: dict[K, T], key: K, thing: T) -> None:
    """Put *thing* into *kept*, under itself where its key raises or has an entry already."""
    try:
        if kept.setdefault(key, thing) is thing:
            return
    except Exception:
        pass
    itself: Any = thing
    kept[itself] = thing
