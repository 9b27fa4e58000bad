"""Keyed: things in dicts, found and taken out by what they are, also where their keys have become other ones since."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
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


# An OrderedDict looks every key up again when it is walked over, and goes astray where one has changed. The dict in it
# does not, but is in the order in which its entries were put in.


def first_in(live: dict[K, T], number: int | None = None) -> list[T]:
    """Return the first *number* things in a dict, or all; in order of use unless a key has changed."""
    try:
        found = list(islice(live.values(), number))
    except Exception:
        found = []
    if found and (number is not None or len(set(map(id, found))) == len(live)):
        return found
    return list(islice(dict.values(live), number))


def in_order(live: dict[K, T]) -> Iterator[T]:
    """Return the things in a dict that is no longer used, which may be empty afterwards; looks no key up."""
    return _emptied(live) if isinstance(live, OrderedDict) else iter(live.values())


def _emptied(live: OrderedDict[K, T]) -> Iterator[T]:
    while live:
        yield live.popitem(last=False)[1]
