"""Hooks: what task managers and timers tell those who watch them, and two ready watches."""

from ._face import face

__getattr__, __dir__, __all__ = face(__name__)
