"""get_background_manager: the background of a loop, whoever owns the process."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle import TaskManager, create_background_task, get_background_manager, run

from ..loops import LOOPS


def test_under_run_it_is_the_manager_that_is_drained() -> None:
    """A library's task ends before the process does, beside those of the program."""
    ended: list[str] = []

    async def work(name: str) -> None:
        await asyncio.sleep(0.01)
        ended.append(name)

    async def main() -> TaskManager:
        create_background_task(work("program"))
        get_background_manager().start_soon(work, "library")
        return get_background_manager()

    assert run(main).closed
    assert sorted(ended) == ["library", "program"]


@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
def test_elsewhere_a_loop_has_one_of_its_own(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """One for all in the loop, none of another loop's; its tasks are cancelled with all others when the loop ends."""
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("cancelled")

    async def main() -> TaskManager:
        manager = get_background_manager()
        assert get_background_manager() is manager
        assert await manager.start_soon(asyncio.sleep, 0, "value") == "value"
        manager.start_soon(wait)
        gc.collect()  # nobody else refers to the task
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="get_background_manager"):
            create_background_task(asyncio.sleep(0))  # which promises more than a loop can
        return manager

    with asyncio.Runner(loop_factory=new_loop) as runner:
        first = runner.run(main())
    assert ended == ["cancelled"]
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(main()) is not first


def test_a_manager_that_somebody_has_closed_is_replaced() -> None:
    """What one of those who share it does leaves the others able to work."""

    async def main() -> None:
        await get_background_manager().aclose()
        assert await get_background_manager().start_soon(asyncio.sleep, 0, "value") == "value"

    asyncio.run(main())


def test_an_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With the name of the task, as in every manager."""

    async def fail() -> None:
        raise OSError("no mail server")

    async def main() -> None:
        await get_background_manager().start_soon(fail, name="mailer").wait()

    asyncio.run(main())
    [record] = caplog.records
    assert (record.getMessage(), record.task) == ("background task failed", "mailer")  # type: ignore[attr-defined]


def test_a_loop_in_another_thread_has_its_own() -> None:
    """Also where that thread works in a context of the run's."""
    found: list[Any] = []

    async def other() -> None:
        found.append(get_background_manager())
        try:
            create_background_task(asyncio.sleep(0))
        except RuntimeError as error:
            found.append(error)

    async def main() -> None:
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(asyncio.run, other()))
        thread.start()
        await asyncio.to_thread(thread.join)
        assert found[0] is not get_background_manager()

    run(main)
    assert isinstance(found[1], RuntimeError)


def test_without_a_loop_it_says_so() -> None:
    """There is nothing that it could belong to."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        get_background_manager()


def test_it_goes_with_its_loop() -> None:
    """Nothing refers to a loop that has ended, or to its background."""

    async def main() -> weakref.ref[TaskManager]:
        get_background_manager().start_soon(asyncio.sleep, 3600)
        await asyncio.sleep(0)
        return weakref.ref(get_background_manager())

    manager = asyncio.run(main())
    gc.collect()
    assert manager() is None
