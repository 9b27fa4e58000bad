"""What is awaited to its end, whoever cancels the task that it is awaited in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from lifecycle.scheduler._ground.bridge import Bell, Reply, unbroken

from ...loops import on_every_loop, run_on

Loop = Callable[[], asyncio.AbstractEventLoop]


@on_every_loop
@pytest.mark.parametrize("kind", ["a reply", "a future", "a bare yield", "a bell"])
@pytest.mark.parametrize("cancellations", [0, 1, 3])
@pytest.mark.parametrize("early", [False, True])
def test_nobody_ends_it(new_loop: Loop, kind: str, cancellations: int, early: bool) -> None:
    """Neither a cancellation that arrives meanwhile nor one from before; nothing of them is left."""

    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        async def work() -> str:
            match kind:
                case "a reply":
                    reply: Reply[str] = Reply()
                    loop.call_later(0.01, reply.give, "done")
                    return await reply
                case "a future":
                    future: asyncio.Future[str] = loop.create_future()
                    loop.call_later(0.01, future.set_result, "done")
                    return await future
                case "a bell":
                    bell = Bell()
                    loop.call_later(0.01, bell.ring)
                    await bell.wait()
                    return "done"
                case _:
                    for _ in range(10):
                        await asyncio.sleep(0)
                    return "done"

        for number in range(cancellations):
            if early:
                task.cancel()
            else:
                loop.call_later(0.002 * number, task.cancel)
        assert await unbroken(work(), lambda: False) == "done"

    if kind == "a bare yield" and cancellations and not early:
        return  # it is over before they arrive
    run_on(new_loop, main())


@on_every_loop
def test_errors_reach_the_work_and_what_it_makes_of_them_the_caller(new_loop: Loop) -> None:
    """A reply that is an error is met where it is awaited."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        reply: Reply[str] = Reply()

        async def work() -> str:
            try:
                return await reply
            except OSError as error:
                raise ValueError("made of it") from error

        loop.call_soon(reply.fail, OSError("full"))
        with pytest.raises(ValueError, match="made of it"):
            await unbroken(work(), lambda: False)

    run_on(new_loop, main())


@on_every_loop
def test_who_may_end_it_ends_it(new_loop: Loop) -> None:
    """Then the cancellation reaches the work, and goes on."""

    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        met = []

        async def work() -> None:
            try:
                await Reply[None]()
            except asyncio.CancelledError:
                met.append("work")
                raise

        loop.call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await unbroken(work(), lambda: True)
        assert met == ["work"]
        task.uncancel()

    run_on(new_loop, main())
