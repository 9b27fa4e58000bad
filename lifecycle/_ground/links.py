"""Links: weak references to owners, of whatever class a user has made of them."""

from __future__ import annotations

from typing import TypeVar
from weakref import ref

T = TypeVar("T")


class Link(ref[T]):
    """A weak reference that is equal to itself alone, and can be hashed.

    A plain one compares and hashes as what it refers to: owners whose class has an ``__eq__`` of its own would be taken
    for each other, and could not be hashed at all without a ``__hash__``.
    """

    __slots__ = ()

    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__
