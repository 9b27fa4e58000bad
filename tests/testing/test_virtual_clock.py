"""The ``virtual_clock`` fixture: virtual time in tests of either plugin."""

import asyncio
import time

import anyio
import pytest

from lifecycle.testing import DeadlockError, VirtualClock


@pytest.mark.asyncio
async def test_an_hour_passes_in_an_instant_under_pytest_asyncio(virtual_clock: VirtualClock) -> None:
    """Sleeping moves the virtual clock, not the real one."""
    began = time.monotonic()
    await asyncio.sleep(3600)
    assert virtual_clock.time() == pytest.approx(3600)
    assert time.monotonic() - began < 60


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_hour_passes_in_an_instant_under_anyio(anyio_backend: str, virtual_clock: VirtualClock) -> None:
    """The same with anyio's own plugin, deadlines included."""
    with anyio.move_on_after(3600) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert virtual_clock.time() == pytest.approx(3600)


@pytest.mark.asyncio
async def test_advance_runs_everything_that_is_due(virtual_clock: VirtualClock) -> None:
    """Timers of the last instant have fired, with what they woke, when advance returns."""
    seen: list[float] = []

    async def tick() -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            seen.append(round(virtual_clock.time(), 6))

    task = asyncio.create_task(tick())
    await virtual_clock.advance(2.5)
    assert seen == [1, 2]
    await task


@pytest.mark.asyncio
async def test_a_thread_is_waited_for_in_real_time(virtual_clock: VirtualClock) -> None:
    """The clock does not jump over a worker thread that is still busy."""
    async with asyncio.timeout(60):
        assert await asyncio.to_thread(lambda: time.sleep(0.05) or 7) == 7
    assert virtual_clock.time() < 1


@pytest.mark.asyncio
async def test_a_thread_of_the_executor_that_waits_for_its_next_job_does_not_hold_the_clock(
    virtual_clock: VirtualClock,
) -> None:
    """The threads of the default executor stay: what counts is whether one of their jobs is not done."""
    await asyncio.to_thread(lambda: None)
    began = time.monotonic()
    await asyncio.sleep(3600)
    assert time.monotonic() - began < 60


@pytest.mark.asyncio
async def test_real_sockets_work_in_virtual_time(virtual_clock: VirtualClock) -> None:
    """A loopback echo is not overtaken by a timer."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        writer.close()
        await writer.wait_closed()


def test_uvloop_is_refused_with_a_word() -> None:
    """uvloop's timers do not ask loop.time(): say so instead of hanging."""
    uvloop = pytest.importorskip("uvloop")
    from lifecycle.testing._loop.attach import attached

    async def main() -> None:
        with (
            pytest.raises(TypeError, match="keeps its own time"),
            attached(VirtualClock(), asyncio.get_running_loop()),
        ):
            pass

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_a_deadlock_in_an_attached_loop_is_an_error() -> None:
    """With nothing to wait for, the test fails with a dump instead of hanging."""
    from lifecycle.testing._loop.attach import attached

    async def main() -> None:
        with attached(VirtualClock(), asyncio.get_running_loop(), patience=0.05):
            await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match=r"Event\.wait"), asyncio.Runner() as runner:
        runner.run(main())
