"""Places: which entry of a ledger stands for a value, also where there are many and each is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakValueDictionary

from .books import ScopeBooks
from .making import HalfMade

#: So many entries are looked through more quickly than noted.
FEW = 32


def entry_of(books: ScopeBooks, value: object) -> Any:
    """Return the newest entry that stands for the very object *value*; None where there is none.

    For None there is none: it is what a context manager gives that gives nothing, and an attribute that is not set.
    """
    if value is None:
        return None
    if len(books) <= FEW:
        return look_through(books, value)
    places = getattr(books, "places", None)
    if places is None:  # nothing is noted before the first question, because few scopes are ever asked
        places = books.places = Places()
    books.top()  # a walk from the end does not have to begin with the holes there
    return places.find(books, value)


def look_through(books: ScopeBooks, value: object) -> Any:
    """Do as `entry_of`, with a look at every entry."""
    return next((entry for entry in reversed(books) if any(each is value for each in names_of(entry))), None)


def names_of(entry: Any) -> Iterator[object]:
    """Yield the objects by which an entry can be named."""
    yield getattr(entry, "value", entry)
    yield getattr(entry, "owned", entry)


class Places:
    """The entries of one ledger by the identities of what they stand for; what has left it is not kept.

    An entry that is noted itself has its place: all that are older are noted as well. What is half made gets its place,
    a new one, when it is made. So for a question only what has come in since the last one has to be looked at.
    """

    __slots__ = ("_doubled", "_noted")

    def __init__(self) -> None:
        self._noted: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._doubled = False  # whether an object has stood in two entries, of which only the newer is noted

    def find(self, books: ScopeBooks, value: object) -> Any:
        """Return the newest entry of *books* that stands for *value*, None where there is none."""
        newer = []
        for entry in reversed(books):
            if self._noted.get(id(entry)) is entry:
                break
            newer.append(entry)
        while newer:
            self._note(books, newer.pop())
        found = self._noted.get(id(value))
        if found is not None and stands_for(books, found, value):
            return found
        return look_through(books, value) if self._doubled else None

    def _note(self, books: ScopeBooks, entry: Any) -> None:
        for each in names_of(entry):
            if each is None or each is entry:
                continue
            older = self._noted.get(id(each))
            if older is not None and older is not entry and stands_for(books, older, each):
                self._doubled = True
            self._noted[id(each)] = entry
        if not isinstance(entry, HalfMade) or getattr(entry, "held", False):
            self._noted[id(entry)] = entry


def stands_for(books: ScopeBooks, entry: Any, value: object) -> bool:
    """Whether *entry* is not one that has left, nor one of an object that is gone, whose identity is now *value*'s."""
    return entry in books and any(each is value for each in names_of(entry))
