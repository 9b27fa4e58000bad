"""Work that begins whatever happens: a stranger's cancellation before its first step does not keep it from it."""

import asyncio

from lifecycle import Scope
from lifecycle.testing import Bubble

from ..loops import virtual


def cancel_everything_else() -> None:
    """Do what ``asyncio.run`` does in the end."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


@virtual
async def test_a_late_release_begins_although_it_was_cancelled_before(bubble: Bubble) -> None:
    """What came to a closed scope is released."""
    scope = Scope()
    await scope.aclose()
    released = []

    async def release() -> None:
        await asyncio.sleep(0)
        released.append("released")

    try:
        scope.push_async_callback(release)
    except Exception:
        cancel_everything_else()
    await bubble.wait_all_blocked()
    assert released == ["released"]


@virtual
async def test_a_scope_without_a_body_closes_although_its_closer_was_cancelled_before(bubble: Bubble) -> None:
    """After `cancel` it closes in the background, whoever cancels what runs there."""
    scope = Scope()
    released: list[str] = []
    scope.callback(released.append, "released")
    scope.cancel()
    cancel_everything_else()
    await bubble.wait_all_blocked()
    assert released == ["released"]
    await scope.aclose()
