"""Owners in a program whose logging fails: nothing is lost, and nothing stays taken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lifecycle


class Failing(logging.Handler):
    """A handler whose ``emit`` lets its error out."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("the collector is away")


@pytest.fixture(params=["handler", "filter", "field"], autouse=True)
def hostile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging that raises where an owner calls it: in a handler, in a filter, or for a field that a record has."""
    logger = logging.getLogger("lifecycle")
    handler: logging.Handler = Failing() if request.param == "handler" else logging.NullHandler()
    if request.param == "filter":
        handler.addFilter(lambda record: vars(record)["request_id"])
    if request.param == "field":
        make = logging.getLogRecordFactory()

        def with_owner(*args: Any, **kwargs: Any) -> logging.LogRecord:
            record = make(*args, **kwargs)
            record.owner = "the program"
            return record

        monkeypatch.setattr(logging, "_logRecordFactory", with_owner)
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


def test_every_room_of_the_core_logs_through_a_logger_that_never_raises() -> None:
    """A logger of its own would be one that this file does not try."""
    core = [path for path in Path(lifecycle.__file__).parent.glob("_*/*.py") if path.name != "logs.py"]
    assert not [path.name for path in core if "getLogger" in path.read_text(encoding="utf-8")]


async def fail(*_: object) -> None:
    raise ValueError("no mail")


async def stubborn() -> None:
    """Ignore two cancellations."""
    for _ in range(3):
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            continue
    raise ValueError("late")


@pytest.mark.asyncio
async def test_a_manager_gives_the_slot_of_a_failed_task_back() -> None:
    async with lifecycle.TaskManager(limit=1) as manager:
        handles = [manager.create_task(fail()) for _ in range(3)]
        assert (await manager.drain(1.0)).clean
        assert [handle.status for handle in handles] == [lifecycle.TaskStatus.FAILED] * 3


@pytest.mark.asyncio
async def test_a_manager_names_what_it_abandons() -> None:
    manager = lifecycle.TaskManager(drain_timeout=0, cancel_timeout=0.02)
    manager.create_task(stubborn())
    await asyncio.sleep(0)
    assert [left.name for left in (await manager.aclose()).abandoned] == ["stubborn"]
    await asyncio.sleep(0.4)


@pytest.mark.asyncio
async def test_a_scope_raises_what_it_abandons_and_not_what_logging_met() -> None:
    scope = lifecycle.Scope(close_timeout=0.02)
    scope.push_async_callback(stubborn)
    with pytest.raises(lifecycle.ReleaseTimeout):
        await scope.aclose()
    await asyncio.sleep(0.4)


@pytest.mark.asyncio
async def test_a_scope_without_a_block_fails_with_the_error_of_its_task() -> None:
    scope = lifecycle.Scope()
    scope.start_soon(fail)
    await asyncio.sleep(0.05)
    with pytest.raises(ValueError, match="no mail"):
        await scope.aclose()


@pytest.mark.asyncio
async def test_a_pool_gives_the_place_of_a_value_back_whose_end_failed() -> None:
    pool = lifecycle.Pool(object, fail, max_size=1, max_lifetime=0.001, lifetime_jitter=0)
    async with asyncio.timeout(60):
        for _ in range(3):
            async with pool.acquire():
                await asyncio.sleep(0.01)
    with pytest.raises(ValueError, match="no mail"):
        await pool.aclose()


@pytest.mark.asyncio
async def test_a_registry_finalizes_on_after_a_finalizer_that_failed() -> None:
    registry: lifecycle.Registry[int, int] = lifecycle.Registry(max_size=1, finalizer=fail)
    for number in range(5):
        registry.put(number, number)
    async with asyncio.timeout(60):
        while registry.statistics().closed < 4:
            await asyncio.sleep(0.01)
    assert registry.statistics().close_errors == 4
    with pytest.raises(ValueError, match="no mail"):
        await registry.aclose()


@pytest.mark.asyncio
async def test_a_server_takes_the_next_connection_after_a_handler_that_failed() -> None:
    async with lifecycle.serve_tcp(fail, limit=1) as server, asyncio.timeout(60):
        (host, port), *_ = server.addresses
        for _ in range(3):
            reader, writer = await asyncio.open_connection(host, port)
            assert await reader.read() == b""
            writer.close()
        assert server.statistics().failed == 3


@pytest.mark.asyncio
async def test_an_attempt_follows_one_that_failed() -> None:
    trials = 0

    async def connector(stages: lifecycle.Stages) -> int:
        nonlocal trials
        trials += 1
        if trials < 3:
            raise OSError("refused")
        return trials

    async with lifecycle.connect(connector, retry=lifecycle.Retry(backoff=(0.001, 0.001))) as value:
        assert value == 3


@pytest.mark.asyncio
async def test_a_timer_goes_on_after_a_run_that_failed() -> None:
    timer = lifecycle.fixed_rate(fail, 0.01)
    async with lifecycle.Scope() as scope, asyncio.timeout(60):
        scope.start_soon(timer)
        while timer.statistics().failed < 3:
            await asyncio.sleep(0.01)
        timer.stop()
