"""Ten defects of caches and pools that others have shipped, and what finds each of them.

Every test runs twice: on ours, which must come through, and on a copy with the one step broken the way the original
had it, which must not.
"""

import asyncio
import contextlib
import gc
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from lifecycle import OwnerClosed, Pool, Registration, Registry, RemovalCause
from lifecycle._pool.line import Line
from lifecycle._pool.slot import Slot, SlotState
from lifecycle._pool.workshop import Workshop
from lifecycle._registry.departures import Departures
from lifecycle.testing import Bubble, run_virtual

Scenario = Callable[[Any], Coroutine[Any, Any, None]]


class Connection:
    """A connection with what people leave behind on it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closes = 0
        self.unread: list[str] = []
        self.channels: set[str] = set()

    async def query(self, question: str, seconds: float = 1.0) -> str:
        """Send a question and read the answer: the next one in the socket, whosever it is."""
        self.unread.append(f"answer to {question}")
        await asyncio.sleep(seconds)
        return self.unread.pop(0)

    async def unlisten(self) -> None:
        await asyncio.sleep(0.01)
        self.channels.clear()


def make_pool(kind: type[Pool[Connection]], **options: Any) -> Pool[Connection]:
    made: list[Connection] = []

    async def connect() -> Connection:
        await asyncio.sleep(0.01)
        made.append(Connection(len(made)))
        return made[-1]

    async def disconnect(connection: Connection) -> None:
        connection.closes += 1

    return kind(connect, disconnect, **({"max_size": 1, "close_timeout": 5.0} | options))


async def finalize(connection: Connection) -> None:
    connection.closes += 1
    await asyncio.sleep(0.01)


def survives(scenario: Scenario, kind: type[Any]) -> bool:
    """Whether a scenario comes through with an implementation: no error, nothing left, nobody waiting for ever."""

    async def run(bubble: Bubble) -> None:
        async with asyncio.timeout(500):
            await scenario(kind)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a broken copy leaves what it leaves
        try:
            run_virtual(run)
        except Exception:
            return False
        else:
            return True
        finally:
            gc.collect()


def check(scenario: Scenario, ours: type[Any], broken: type[Any]) -> None:
    """Check that ours comes through, and that the broken copy does not."""
    assert survives(scenario, ours), "ours has the defect"
    assert not survives(scenario, broken), "the scenario does not find the defect"


def test_a_lost_wake_up() -> None:
    """aiohttp 3.14.5: a waiter that is woken and cancelled in the same moment takes the wake-up along."""

    class BrokenLine(Line[Connection]):
        __slots__ = ()

        def _leave(self, place: asyncio.Future[Any]) -> None:
            self.places.pop(place, None)
            if not place.cancelled() and isinstance(place.result(), Slot):
                slot = place.result()
                slot.state = SlotState.IDLE
                self._pool._idle.append(slot)  # type: ignore[attr-defined]  # it is free again, and nobody is told

    class Broken(Pool[Connection]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._line.__class__ = BrokenLine

    async def scenario(kind: type[Pool[Connection]]) -> None:
        async with make_pool(kind) as pool:

            async def borrow() -> None:
                async with pool.acquire():
                    await asyncio.sleep(1)

            async with pool.acquire():
                second, third = asyncio.create_task(borrow()), asyncio.create_task(borrow())
                await asyncio.sleep(1)
            second.cancel()  # it has been handed the value, and has not run since
            done, _ = await asyncio.wait([third], timeout=100)
            assert done
            await asyncio.gather(second, return_exceptions=True)

    check(scenario, Pool, Broken)


def test_a_slot_lost_for_ever() -> None:
    """httpcore 1.0.9: a caller that is cancelled inside acquire leaves a connection that counts and serves nobody."""

    class BrokenWorkshop(Workshop[Connection]):
        __slots__ = ()

        def _creation_ended(self, slot: Slot[Connection], chore: Any) -> None:
            if self._pool._waiting:  # type: ignore[attr-defined]  # else its slot stays taken
                super()._creation_ended(slot, chore)

    class Broken(Pool[Connection]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._workshop.__class__ = BrokenWorkshop

    async def scenario(kind: type[Pool[Connection]]) -> None:
        async with make_pool(kind, max_size=2) as pool:

            async def borrow() -> None:
                async with pool.acquire():
                    pytest.fail("was lent")

            tasks = [asyncio.create_task(borrow()) for _ in range(2)]
            await asyncio.sleep(0.005)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            async with pool.acquire(timeout=1.0), pool.acquire(timeout=1.0):
                pass

    check(scenario, Pool, Broken)


def test_a_stale_timer_deletes_the_new_value() -> None:
    """aiocache 0.12.3: a timer that goes by the key takes what came later."""

    class Broken(Registry[str, int]):
        def put(self, key: str, value: int, *, ttl: float | None = None) -> Registration[str, int]:
            if ttl is not None:
                asyncio.get_running_loop().call_later(ttl, self.discard, key)
            return super().put(key, value)

    async def scenario(kind: type[Registry[str, int]]) -> None:
        async with kind() as registry:
            registry.put("a", 1, ttl=1.0)
            await registry.clear()
            registry.put("a", 2)
            await asyncio.sleep(5)
            assert registry.get("a") == 2

    check(scenario, Registry, Broken)


def test_the_leaders_cancellation_is_handed_to_all() -> None:
    """cachebox 6.2, theine 2.0: the first caller runs the factory itself, and its cancellation is everybody's."""

    pending: dict[str, asyncio.Future[int]] = {}

    class Broken(Registry[str, int]):
        async def get_or_create(self, key: str, factory: Callable[[], Awaitable[int] | int]) -> int:
            if key in pending:
                return await asyncio.shield(pending[key])
            pending[key] = asyncio.get_running_loop().create_future()
            try:
                value = await factory()  # type: ignore[misc]
            except BaseException as error:
                pending.pop(key).set_exception(error)
                raise
            pending.pop(key).set_result(value)
            return value

    async def scenario(kind: type[Registry[str, int]]) -> None:
        async def factory() -> int:
            await asyncio.sleep(1)
            return 1

        async with kind() as registry:
            leader, follower = (asyncio.create_task(registry.get_or_create("a", factory)) for _ in range(2))
            await asyncio.sleep(0.5)
            leader.cancel()
            assert await asyncio.gather(follower, return_exceptions=True) == [1]

    check(scenario, Registry, Broken)


def test_a_dirty_connection_is_lent_again() -> None:
    """redis-py 4.5.3, CVE-2023-28858: the next borrower reads the answer to a cancelled question."""

    class Broken(Pool[Connection]):
        def _take_back(self, slot: Slot[Connection], *, spoiled: bool = False) -> None:
            super()._take_back(slot)

    async def scenario(kind: type[Pool[Connection]]) -> None:
        async with make_pool(kind) as pool:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5), pool.acquire() as connection:
                    await connection.query("the first")
            async with pool.acquire() as connection:
                assert await connection.query("the second") == "answer to the second"

    check(scenario, Pool, Broken)


def test_newcomers_overtake() -> None:
    """redis-py, SQLAlchemy, aiohttp: what comes back lies open to whoever comes first, and the line waits on."""

    class Broken(Pool[Connection]):
        def _take_back(self, slot: Slot[Connection], *, spoiled: bool = False) -> None:
            slot.state = SlotState.IDLE
            self._idle.append(slot)
            asyncio.get_running_loop().call_soon(self._pump)

    async def scenario(kind: type[Pool[Connection]]) -> None:
        served = []

        async with make_pool(kind) as pool:

            async def borrow(name: str, again: int) -> None:
                async with pool.acquire():
                    served.append(name)
                    await asyncio.sleep(0.1)
                if again:
                    await borrow(name, again - 1)

            async with asyncio.TaskGroup() as group:
                for name in "abc":
                    group.create_task(borrow(name, 2))
        assert "".join(served) == "abcabcabc"

    check(scenario, Pool, Broken)


def test_a_value_is_closed_under_its_lease() -> None:
    """LiteLLM, Jenkins: closed on eviction, in the hands of whoever was using it."""

    class BrokenDepartures(Departures[str, Connection]):
        __slots__ = ()

        def dispose(self, registration: Registration[str, Connection], cause: RemovalCause) -> None:
            leases, registration._leases = registration._leases, 0
            super().dispose(registration, cause)
            registration._leases = leases

    class Broken(Registry[str, Connection]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._departures.__class__ = BrokenDepartures

    async def scenario(kind: type[Registry[str, Connection]]) -> None:
        async with kind(max_size=1, finalizer=finalize) as registry:
            first, second = registry.lease("a", lambda: Connection(1)), registry.lease("b", lambda: Connection(2))
            async with first as connection, second:
                await asyncio.sleep(1)
                assert connection.closes == 0
            await asyncio.sleep(1)
            assert connection.closes == 1

    check(scenario, Registry, Broken)


def test_a_listening_connection_goes_back() -> None:
    """SAQ 0.26.4: a connection that still LISTENs is lent on, and buffers for ever."""

    class Broken(Pool[Connection]):
        def _take_back(self, slot: Slot[Connection], *, spoiled: bool = False) -> None:
            self._resets = False
            super()._take_back(slot, spoiled=spoiled)

    async def scenario(kind: type[Pool[Connection]]) -> None:
        async with make_pool(kind, reset=Connection.unlisten) as pool:
            async with pool.acquire() as connection:
                connection.channels.add("jobs")
            async with pool.acquire() as connection:
                assert not connection.channels

    check(scenario, Pool, Broken)


def test_a_value_is_finalized_twice() -> None:
    """gravitino#2600: an explicit close, and the listener of the removal as well."""

    class Broken(Registry[str, Connection]):
        def remove(self, registration: Registration[str, Connection]) -> bool:
            self._live.pop(registration.key, None)
            assert self._crew is not None
            self._crew.submit(registration)
            return True

        def _check_invariants(self) -> None:
            """It has none."""

    async def scenario(kind: type[Registry[str, Connection]]) -> None:
        connection = Connection(1)
        registry = kind(finalizer=finalize)
        registration = registry.put("a", connection)
        registry.remove(registration)
        registration.remove()
        await registry.aclose()
        with contextlib.suppress(OwnerClosed):
            registration.remove()
        await asyncio.sleep(1)
        assert connection.closes == 1

    check(scenario, Registry, Broken)


def test_one_failing_close_aborts_the_rest() -> None:
    """OpenViking#4760, langchain#35817: a loop of closes without a try, and the first error ends it."""

    class Broken(Registry[str, Connection]):
        async def aclose(self) -> None:
            for key in list(self):
                await close(self.pop(key))

    async def close(connection: Connection) -> None:
        await finalize(connection)
        if connection.number == 1:
            raise OSError("gone already")

    async def scenario(kind: type[Registry[str, Connection]]) -> None:
        connections = [Connection(number) for number in range(3)]
        registry = kind(finalizer=close)
        for connection in connections:
            registry.put(str(connection.number), connection)
        with pytest.raises(OSError, match="gone already"):
            await registry.aclose()
        assert [connection.closes for connection in connections] == [1, 1, 1]

    check(scenario, Registry, Broken)
