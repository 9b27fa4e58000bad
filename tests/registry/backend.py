"""A backend whose values grow old, and what is told of its failures."""

from __future__ import annotations

import asyncio

import pytest

THE_OLD = "creation failed, the old value serves"


class Backend:
    """Makes numbers, each in a second, as long as it is up."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self.calls = 0
        self.up = True

    async def __call__(self) -> int:
        self.calls += 1
        made = self.calls
        await asyncio.sleep(self.seconds)
        if not self.up:
            raise ConnectionError("down")
        return made


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "lifecycle.registry"]
