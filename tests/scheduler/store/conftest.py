"""Fixtures of the stores' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from lifecycle.scheduler._store.protocol import Store

from ..stores import Address, store_at


@pytest_asyncio.fixture
async def store(address: Address | None) -> AsyncIterator[Store]:
    """An open store of each kind."""
    store = store_at(address)
    await store.open()
    yield store
    await store.aclose()
