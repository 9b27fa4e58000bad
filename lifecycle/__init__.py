"""Owners for everything that lives in an asyncio service: a scope stops, a group joins, a manager drains its tasks.

What annotations need beside these names is in `lifecycle.types`, what watches tasks and timers in `lifecycle.hooks`.
"""

from ._face import face

__version__ = "0.1.0.dev0"

__getattr__, __dir__, __all__ = face(__name__)  # pyright: ignore[reportUnsupportedDunderAll]
