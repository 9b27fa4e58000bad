"""The host of the page keeps what the page asks of a host."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lifecycle.scheduler.remote import Ticket

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(sys.platform != "linux", reason="it starts its work with setsid --fork"),
]

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "work-that-outlives-the-scheduler.md"
FIRST = Ticket("work-1", "0123456789", None, 1, 1, 1, "work")


def host_of_the_page(root: Path) -> Any:
    """Return one of the class that stands there."""
    names: dict[str, Any] = {}
    exec(PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0], names)  # noqa: S102 (it is ours)
    return names["Detached"](root)


async def test_what_another_attempt_has_taken_over_is_out_of_reach_for_the_one_before(tmp_path: Path) -> None:
    """That one may have been paused, and come back when its job was another's; the later one clears it away."""
    said: list[str] = []
    async with host_of_the_page(tmp_path / "work") as host:
        await host.start(FIRST, ["sh", "-c", "echo one; sleep 0.2; echo two"], said.append)
        second = replace(FIRST, attempt=2)
        assert await host.adopt(second, [])
        await host.stop(FIRST, [])
        assert (await host.follow(second, [], said.append)).output == "one\ntwo\n"
        await host.stop(second, [])
        assert list((tmp_path / "work").iterdir()) == []
        assert not await host.adopt(second, [])
