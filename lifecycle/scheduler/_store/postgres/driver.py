"""The driver asyncpg, which is imported when a store on PostgreSQL is used and not before."""

from __future__ import annotations

import importlib
from typing import Any

from ..._ground.errors import StoreError


def load_driver() -> Any:
    """Return the module asyncpg.

    Raises:
        StoreError: it is not installed; the error says how to.
    """
    try:
        return importlib.import_module("asyncpg")
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise StoreError("a store on PostgreSQL needs asyncpg: pip install 'asyncio-lifecycle[postgres]'") from None
