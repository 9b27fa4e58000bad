"""Whole programs written for ``asyncio.TaskGroup``: with our name in its place they print the same."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lifecycle import TaskGroup

from .loops import Run

GROUPS = [TaskGroup, asyncio.TaskGroup] if sys.version_info >= (3, 13) else [TaskGroup]


@pytest.fixture(params=GROUPS, ids=lambda group: group.__module__.partition(".")[0])
def group_class(request: pytest.FixtureRequest) -> Any:
    """The class in the place of ``asyncio.TaskGroup``."""
    return request.param


def test_a_pipeline_of_queues(run: Run, group_class: Any) -> None:
    """A producer, workers that are cancelled when the queue is empty, a consumer."""

    async def main() -> list[int]:
        todo: asyncio.Queue[int] = asyncio.Queue(maxsize=3)
        done: list[int] = []

        async def produce() -> None:
            for number in range(20):
                await todo.put(number)
            await todo.join()
            for worker in workers:
                worker.cancel()

        async def work() -> None:
            while True:
                number = await todo.get()
                await asyncio.sleep(0)
                done.append(number * number)
                todo.task_done()

        async with group_class() as group:
            workers = [group.create_task(work()) for _ in range(4)]
            group.create_task(produce())
        return sorted(done)

    assert run(main) == [number * number for number in range(20)]


def test_ending_a_group_with_an_error(run: Run, group_class: Any) -> None:
    """The documentation's way to terminate a group: a task that raises, and a handler that expects it."""

    class Terminate(Exception):
        pass

    async def terminate() -> None:
        raise Terminate

    async def job(log: list[str], name: str, seconds: float) -> None:
        log.append(f"{name} starts")
        await asyncio.sleep(seconds)
        log.append(f"{name} ends")

    async def main() -> list[str]:
        log: list[str] = []
        with contextlib.suppress(BaseExceptionGroup):
            async with group_class() as group:
                group.create_task(job(log, "short", 0.001))
                group.create_task(job(log, "long", 10))
                await asyncio.sleep(0.01)
                group.create_task(terminate())
        return log

    assert sorted(run(main)) == ["long starts", "short ends", "short starts"]


def test_errors_are_told_apart(run: Run, group_class: Any) -> None:
    """Two ``except*`` clauses, and the results of those who had ended before."""

    async def fetch(name: str, now: asyncio.Event) -> str:
        await now.wait()
        if name == "refused":
            raise ConnectionRefusedError(name)
        if name == "garbled":
            raise ValueError(name)
        return name

    async def main() -> tuple[list[str], list[str]]:
        met: list[str] = []
        tasks: list[asyncio.Task[str]] = []
        now = asyncio.Event()  # for all in one turn, however busy the machine is
        asyncio.get_running_loop().call_later(0.001, now.set)
        try:
            async with group_class() as group:
                tasks += [group.create_task(fetch(name, now)) for name in ("fine", "refused", "garbled", "fine too")]
        except* OSError as group_of_errors:
            met += [f"os: {error}" for error in group_of_errors.exceptions]
        except* ValueError as group_of_errors:
            met += [f"value: {error}" for error in group_of_errors.exceptions]
        good = [task.result() for task in tasks if not task.cancelled() and task.exception() is None]
        return met, good

    met, good = run(main)
    assert met == ["os: refused", "value: garbled"]
    assert set(good) <= {"fine", "fine too"}
    assert "fine" in good


def test_happy_eyeballs(run: Run, group_class: Any) -> None:
    """Staggered attempts that wait for the one before to fail; the first success cancels the others."""

    async def connect(delay: float, address: str) -> str:
        await asyncio.sleep(delay)
        if address.startswith("bad"):
            raise OSError(address)
        return address

    async def main() -> tuple[str | None, int]:
        winner: str | None = None
        failures = 0
        attempts = [(0.001, "bad 1"), (10, "slow"), (0.002, "good"), (0.5, "late")]

        async def attempt(number: int, failed_before: asyncio.Event | None) -> None:
            nonlocal winner, failures
            if failed_before is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.003):
                        await failed_before.wait()
            failed = asyncio.Event()
            if number + 1 < len(attempts):
                tasks.append(group.create_task(attempt(number + 1, failed)))
            try:
                address = await connect(*attempts[number])
            except OSError:
                failures += 1
                failed.set()
                return
            winner = address
            for task in tasks:
                if task is not asyncio.current_task():
                    task.cancel()

        tasks: list[asyncio.Task[None]] = []
        async with group_class() as group:
            tasks.append(group.create_task(attempt(0, None)))
        return winner, failures

    assert run(main) == ("good", 1)


def test_a_server_with_a_group_per_connection(group_class: Any) -> None:
    """Handlers and a time limit for each; the server's own group ends with the server."""

    async def main() -> list[bytes]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            lines: asyncio.Queue[bytes] = asyncio.Queue()

            async def read() -> None:
                async for line in reader:
                    await lines.put(line)
                await lines.put(b"")

            async def answer() -> None:
                while line := await lines.get():
                    writer.write(line.upper())
                    await writer.drain()

            try:
                async with asyncio.timeout(5), group_class() as group:
                    group.create_task(read())
                    group.create_task(answer())
            finally:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        async def talk(word: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(word + b"\n")
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

        async with server, group_class() as clients:
            tasks = [clients.create_task(talk(word)) for word in (b"one", b"two", b"three")]
        return [task.result() for task in tasks]

    assert asyncio.run(main()) == [b"ONE\n", b"TWO\n", b"THREE\n"]


def test_a_context_manager_with_a_background_task(run: Run, group_class: Any) -> None:
    """A heartbeat around a body, which is interrupted when the heart fails."""
    beats = 0

    @contextlib.asynccontextmanager
    async def heartbeat(most: int) -> AsyncIterator[None]:
        async def beat() -> None:
            nonlocal beats
            while beats < most:
                beats += 1
                await asyncio.sleep(0.001)
            raise ConnectionError("no answer")

        async with group_class() as group:
            task = group.create_task(beat())
            yield
            task.cancel()

    async def main() -> str:
        nonlocal beats
        async with heartbeat(1_000):
            await asyncio.sleep(0.005)
        assert 1 <= beats < 1_000
        beats = 0
        outcome = "never"
        try:
            async with heartbeat(3):
                await asyncio.sleep(10)
        except* ConnectionError:
            outcome = f"failed after {beats}"
        return outcome

    assert run(main) == "failed after 3"


def test_retries_with_a_deadline_over_all(run: Run, group_class: Any) -> None:
    """A group per attempt inside one timeout; what was under way at the deadline is cancelled and joined."""

    async def main() -> tuple[int, int]:
        attempts = cleaned = 0

        async def part(number: int) -> None:
            nonlocal cleaned
            try:
                await asyncio.sleep(0.001)
                if number == 1:
                    raise OSError(number)
                await asyncio.sleep(10)
            finally:
                cleaned += 1

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                while True:
                    attempts += 1
                    try:
                        async with group_class() as group:
                            for number in range(3):
                                group.create_task(part(number))
                    except* OSError:
                        await asyncio.sleep(0.001)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
        return attempts, cleaned

    attempts, cleaned = run(main)
    assert attempts >= 2
    assert cleaned == 3 * attempts


def test_waiting_for_tasks_inside_the_block(run: Run, group_class: Any) -> None:
    """``asyncio.wait``, ``wait_for``, ``shield`` and ``as_completed`` take the group's tasks."""

    async def job(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def main() -> list[Any]:
        async with group_class() as group:
            slow, fast = group.create_task(job(0.3)), group.create_task(job(0.001))
            done, pending = await asyncio.wait([slow, fast], return_when=asyncio.FIRST_COMPLETED)
            assert (done, pending) == ({fast}, {slow})
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(slow), 0.001)
            return [await earliest for earliest in asyncio.as_completed([slow, fast])]

    assert sorted(run(main)) == [0.001, 0.3]
