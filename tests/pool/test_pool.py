"""Pool: order, hand-over, checks, lifetimes, resets, leaks, the close, and every await struck."""

import asyncio
import contextlib
import gc
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lifecycle import (
    CreationTimeout,
    OwnerClosed,
    Pool,
    PoolFull,
    PoolTimeout,
    ReleaseTimeout,
    Scope,
    StillLent,
    take_snapshot,
)
from lifecycle.testing import Bubble, explore_cancellation, explore_schedules, run_virtual


class Connection:
    """Something to lend: knows its state and who has it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.open = True
        self.users = 0
        self.dirty = False
        self.checks = 0
        self.resets = 0

    def __repr__(self) -> str:
        return f"<connection {self.number}>"


class Server:
    """Makes and ends connections, each of which takes a while, and keeps the account."""

    def __init__(self, seconds: float = 0.1) -> None:
        self.seconds = seconds
        self.connections: list[Connection] = []
        self.most_open = 0
        self.down = False

    async def connect(self) -> Connection:
        await asyncio.sleep(self.seconds)
        if self.down:
            raise ConnectionRefusedError("the server is down")
        connection = Connection(len(self.connections))
        self.connections.append(connection)
        self.most_open = max(self.most_open, self.open)
        return connection

    async def disconnect(self, connection: Connection) -> None:
        assert connection.open, f"{connection} was ended twice"
        assert not connection.users, f"{connection} was ended under its user"
        await asyncio.sleep(self.seconds)
        connection.open = False

    async def reset(self, connection: Connection) -> None:
        await asyncio.sleep(0.01)
        connection.resets += 1
        connection.dirty = False

    async def check(self, connection: Connection) -> bool:
        await asyncio.sleep(0.01)
        connection.checks += 1
        return not self.down

    @property
    def open(self) -> int:
        return sum(connection.open for connection in self.connections)

    def pool(self, **options: Any) -> Pool[Connection]:
        return Pool(self.connect, self.disconnect, **({"max_size": 2, "name": "db"} | options))


async def use(pool: Pool[Connection], seconds: float = 1.0, timeout: float | None = None) -> Connection:
    async with pool.acquire(timeout=timeout) as connection:
        connection.users += 1
        assert connection.users == 1, "lent twice"
        try:
            await asyncio.sleep(seconds)
        finally:
            connection.users -= 1
    return connection


def test_values_are_made_when_needed_and_lent_again() -> None:
    """One borrower at a time needs one value; two need two; the last that came back goes out first."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool() as pool:
            for _ in range(3):
                await use(pool)
            assert len(server.connections) == 1
            await asyncio.gather(use(pool), use(pool, 2.0))
            assert (await use(pool)).number == 1
            pool._check_invariants()
            assert pool.statistics().idle == 2
        assert server.open == 0

    run_virtual(scenario)


def test_an_uncontended_loan_never_suspends() -> None:
    """Borrowing what is at hand, and returning it, is done in the same step."""

    async def scenario(bubble: Bubble) -> None:
        async with Server().pool() as pool:
            await use(pool)

            async def borrow() -> str:
                async with pool.acquire():
                    return "done"

            coroutine = borrow()
            with pytest.raises(StopIteration, match="done"):
                coroutine.send(None)

    run_virtual(scenario)


def test_borrowers_are_served_in_order_and_nobody_overtakes() -> None:
    """Also when a newcomer asks in the very step in which a value comes back."""

    async def scenario(bubble: Bubble) -> None:
        served = []

        async def borrows(name: int) -> None:
            async with pool.acquire():
                served.append(name)
                await asyncio.sleep(0.1)
            if name < 100:  # asks again at once, while others wait
                await borrows(name + 100)

        async with Server().pool(max_size=1) as pool:
            await asyncio.gather(*(borrows(name) for name in range(10)))
        assert served == [*range(10), *range(100, 110)]

    run_virtual(scenario)


def test_the_pool_never_has_more_values_than_allowed() -> None:
    """Seen from the server, those included that are being ended."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()

        async def spoils() -> None:
            with contextlib.suppress(OSError):
                async with pool.acquire():
                    await asyncio.sleep(0.05)
                    raise OSError("dirty")

        async with server.pool(max_size=3) as pool:
            await asyncio.gather(*(spoils() for _ in range(12)))
        assert server.most_open == 3
        assert len(server.connections) == 12

    run_virtual(scenario)


def test_what_comes_back_after_an_error_is_destroyed() -> None:
    """Any error, a cancellation included, and discard(); a loan that ends well keeps its value."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool() as pool:
            with pytest.raises(KeyError):
                async with pool.acquire():
                    raise KeyError
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1), pool.acquire():
                    await asyncio.sleep(5)
            loan = pool.acquire()
            async with loan:
                loan.discard()
            with pytest.raises(RuntimeError, match="not held"):
                loan.discard()
            async with loan as last:  # used again, and unspoiled
                pass
            await asyncio.sleep(1)
            assert [connection.open for connection in server.connections] == [False, False, False, True]
            assert last.number == 3
            assert pool.statistics().discarded == 3

    run_virtual(scenario)


def test_a_reset_makes_ready_for_the_next() -> None:
    """The one who returns does not wait for it, the next one does; a reset that fails destroys the value."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_size=1, reset=server.reset) as pool:
            async with pool.acquire() as connection:
                connection.dirty = True
            assert connection.dirty
            async with pool.acquire() as again:
                assert again is connection
                assert not again.dirty

    run_virtual(scenario)


def test_a_failed_reset_destroys(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next borrower gets a new value; so with one that hangs."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()

        async def reset(connection: Connection) -> None:
            if connection.number == 0:
                raise OSError("reset refused")
            if connection.number == 1:
                await asyncio.sleep(1000)

        async with server.pool(max_size=1, reset=reset, close_timeout=2.0) as pool:
            assert [(await use(pool)).number for _ in range(3)] == [0, 1, 2]
            assert pool.statistics().discarded == 2

    with caplog.at_level(logging.ERROR, "lifecycle.registry"):
        run_virtual(scenario)
    assert "reset refused" in caplog.text


def test_a_check_comes_before_a_loan_but_not_right_after_the_last() -> None:
    """check_bypass seconds after its return a value counts as good; one that fails is replaced."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_size=1, check=server.check, check_bypass=0.5) as pool:
            first = await use(pool)
            await asyncio.sleep(0.4)
            await use(pool)
            assert first.checks == 0
            await asyncio.sleep(0.6)
            await use(pool)
            assert first.checks == 1
            await asyncio.sleep(1)
            server.down = True
            asyncio.get_running_loop().call_later(0.05, setattr, server, "down", False)
            assert (await use(pool)) is not first
            assert not first.open
            assert pool.statistics().check_failures == 1

    run_virtual(scenario)


def test_try_acquire_lends_only_what_is_at_hand() -> None:
    """Not what would have to be made or checked first."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_size=1, check=server.check) as pool:
            with pytest.raises(PoolFull, match="pool 'db' has nothing free"), pool.try_acquire():
                pytest.fail("was entered")
            await use(pool)
            with pool.try_acquire() as connection:
                assert connection.open
                with pytest.raises(PoolFull), pool.try_acquire():
                    pytest.fail("was entered")
            with pytest.raises(KeyError), pool.try_acquire():
                raise KeyError
            await asyncio.sleep(1)
            assert not connection.open
            await use(pool)
            await asyncio.sleep(0.6)
            with pytest.raises(PoolFull), pool.try_acquire():
                pytest.fail("was entered")

    run_virtual(scenario)


def test_a_lifetime_is_enforced_wherever_the_value_is() -> None:
    """Free, when it is lent, and when it comes back; never in its borrower's hands. Jitter only shortens it."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_lifetime=10.0, lifetime_jitter=0.1, min_size=1) as pool:
            await asyncio.sleep(1)
            assert server.open == 1
            dies_at = next(iter(pool._slots)).dies_at
            assert 9.1 <= dies_at <= 10.1
            async with pool.acquire() as held:
                await asyncio.sleep(20)
                assert held.open
            await asyncio.sleep(1)
            assert not held.open
            assert len(server.connections) == 2  # min_size is kept up
            await asyncio.sleep(11)
            assert len(server.connections) == 3
            assert server.open == 1

    run_virtual(scenario)


def test_an_expired_value_is_not_lent_even_if_nobody_swept() -> None:
    """The look at the clock is at the loan, not only in the upkeep."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_size=1, max_lifetime=10.0, lifetime_jitter=0.0) as pool:
            first = await use(pool)
            assert pool._upkeep._timer is not None
            pool._upkeep._timer.cancel()
            await asyncio.sleep(20)
            assert await use(pool) is not first
            assert not first.open

    run_virtual(scenario)


def test_idle_values_go_down_to_min_size() -> None:
    """max_idle seconds after their last use, by themselves."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_size=4, min_size=1, max_idle=5.0) as pool:
            await asyncio.gather(*(use(pool) for _ in range(4)))
            await asyncio.sleep(4)
            assert server.open == 4
            await asyncio.sleep(2)
            assert server.open == 1
            pool._check_invariants()

    run_virtual(scenario)


def test_min_size_is_tried_again_after_failures(caplog: pytest.LogCaptureFixture) -> None:
    """Later and later, and without anybody waiting for it."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        server.down = True
        async with server.pool(min_size=2) as pool:
            await asyncio.sleep(10)
            assert 4 <= pool.statistics().create_failures <= 12
            server.down = False
            await asyncio.sleep(60)
            assert pool.statistics().idle == 2

    with caplog.at_level(logging.CRITICAL, "lifecycle.registry"):
        run_virtual(scenario)


def test_a_failed_creation_fails_one_borrower_each() -> None:
    """Everybody who waits is told, first come first; the pool has its slots back."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        server.down = True
        async with server.pool() as pool:
            answers = await asyncio.gather(*(use(pool) for _ in range(7)), return_exceptions=True)
            assert {type(answer) for answer in answers} == {ConnectionRefusedError}
            assert len(pool) == 0
            server.down = False
            await use(pool)

    run_virtual(scenario)


def test_a_synchronous_create_that_fails_tells_many() -> None:
    """A thousand waiters are no recursion of a thousand calls."""

    async def scenario(bubble: Bubble) -> None:
        def refuse() -> object:
            raise ConnectionRefusedError

        async def asks() -> str:
            try:
                async with pool.acquire():
                    return "lent"
            except ConnectionRefusedError:
                return "refused"

        made = [object()]
        pool = Pool(lambda: made.pop() if made else refuse(), lambda value: None, max_size=1)
        async with pool.acquire():
            waiting = [asyncio.create_task(asks()) for _ in range(2000)]
            await asyncio.sleep(1)
            pool.expire()
            assert not any(task.done() for task in waiting)
        assert set(await asyncio.gather(*waiting)) == {"refused"}
        await pool.aclose()

    run_virtual(scenario)


def test_a_creation_that_hangs_is_cancelled_and_named() -> None:
    """Its borrower gets CreationTimeout, and the slot is free again."""

    async def scenario(bubble: Bubble) -> None:
        server = Server(seconds=100.0)
        async with server.pool(create_timeout=2.0, max_size=1) as pool:
            with pytest.raises(CreationTimeout, match="value 1 of pool 'db' took longer than 2 s"):
                await use(pool)
            server.seconds = 0.1
            await use(pool)

    run_virtual(scenario)


def test_a_cancelled_borrower_leaves_its_creation_to_the_next() -> None:
    """Or to the idle ones; it takes nothing along."""

    async def scenario(bubble: Bubble) -> None:
        server = Server(seconds=1.0)
        async with server.pool(max_size=1) as pool:
            first = asyncio.create_task(use(pool))
            await asyncio.sleep(0.2)
            second = asyncio.create_task(use(pool))
            await asyncio.sleep(0.2)
            first.cancel()
            assert (await second).number == 0
            assert len(server.connections) == 1
            pool.expire()
            await asyncio.sleep(2)
            third = asyncio.create_task(use(pool))
            await asyncio.sleep(0.2)
            third.cancel()
            await asyncio.sleep(2)
            assert pool.statistics().idle == 1

    run_virtual(scenario)


def test_waiting_has_a_bound_in_time() -> None:
    """PoolTimeout says how the pool stands; the place in line is given up."""

    async def scenario(bubble: Bubble) -> None:
        async with Server().pool(max_size=1) as pool:
            holder = asyncio.create_task(use(pool, 10.0))
            await asyncio.sleep(1)
            with pytest.raises(PoolTimeout, match="1 of 1 values, 1 of them lent, 0 waiting"):
                await use(pool, timeout=2.0)
            assert bubble.clock.now == 3.0
            assert pool.statistics().timeouts == 1
            assert pool.statistics().waiting == 0
            await holder
            await use(pool, timeout=0.0)

    run_virtual(scenario)


def test_waiting_has_a_bound_in_number() -> None:
    """max_waiting counts those for whom nothing is on its way."""

    async def scenario(bubble: Bubble) -> None:
        async with Server().pool(max_size=2, max_waiting=1) as pool:
            tasks = [asyncio.create_task(use(pool)) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(PoolFull, match="allows 1"):
                await use(pool)
            await asyncio.gather(*tasks)
            assert pool.statistics().refused == 1

    run_virtual(scenario)


def test_resize_serves_waiters_or_lets_values_go() -> None:
    """Up: who waits is served at once. Down: free values go at once, lent ones when they come back."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_size=1) as pool:
            tasks = [asyncio.create_task(use(pool, 5.0)) for _ in range(3)]
            await asyncio.sleep(1)
            pool.resize(3)
            await asyncio.sleep(1)
            assert pool.statistics().lent == 3
            pool.resize(1)
            await asyncio.gather(*tasks)
            await asyncio.sleep(1)
            assert server.open == 1
            pool._check_invariants()
            pool.resize(3)
            await asyncio.gather(*(use(pool) for _ in range(3)))
            pool.resize(2)
            await asyncio.sleep(1)
            assert server.open == 2
            with pytest.raises(ValueError, match="max_size"):
                pool.resize(0)

    run_virtual(scenario)


def test_expire_renews_everything() -> None:
    """Free values go at once, lent ones when they come back."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_size=2) as pool:
            await asyncio.gather(use(pool), use(pool))
            async with pool.acquire() as lent:
                pool.expire()
                await asyncio.sleep(1)
                assert server.open == 1
                assert lent.open
            await asyncio.sleep(1)
            assert server.open == 0
            await use(pool)

    run_virtual(scenario)


def test_a_loan_that_lasts_too_long_is_logged_with_both_places(caplog: pytest.LogCaptureFixture) -> None:
    """Where it was borrowed, by which task, and where that task is now; once per loan."""

    async def scenario(bubble: Bubble) -> None:
        async def forgets() -> None:
            async with pool.acquire():
                await deep_inside()

        async def deep_inside() -> None:
            await asyncio.sleep(100)

        async with Server().pool(leak_threshold=5.0) as pool:
            task = asyncio.create_task(forgets(), name="the forgetful")
            await use(pool, 4.0)
            await task
            await use(pool, 4.0)

    with caplog.at_level(logging.WARNING, "lifecycle.registry"):
        run_virtual(scenario)
    (record,) = caplog.records
    text = record.getMessage()
    assert "task 'the forgetful'" in text
    borrowed, _, now = text.partition("borrower is now at")
    assert "forgets" in borrowed
    assert "deep_inside" not in borrowed
    assert "deep_inside" in now
    assert re.search(r"is lent for 5\.\d s", text)


# Closing


def test_drain_waits_for_loans_and_borrowers() -> None:
    """close() keeps newcomers out and serves those in line; drain() says whether all came back in time."""

    async def scenario(bubble: Bubble) -> None:
        async with Server().pool(max_size=1) as pool:
            tasks = [asyncio.create_task(use(pool, 2.0)) for _ in range(2)]
            await asyncio.sleep(1)
            pool.close()
            with pytest.raises(OwnerClosed):
                await use(pool)
            with pytest.raises(OwnerClosed), pool.try_acquire():
                pytest.fail("was entered")
            assert not await pool.drain(timeout=1.0)
            assert await pool.drain()
            assert all(task.done() for task in tasks)
            assert await pool.drain()

    run_virtual(scenario)


def test_a_close_waits_for_loans_and_names_those_that_stay() -> None:
    """With the borrower and where it is; the value is ended when it comes back."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        pool = server.pool(close_timeout=5.0)
        tasks = [asyncio.create_task(use(pool, seconds), name=f"for {seconds:g} s") for seconds in (2.0, 20.0)]
        await asyncio.sleep(1)
        with pytest.raises(StillLent, match=r"value 2 of pool 'db', lent to task 'for 20 s', suspended at "):
            await pool.aclose()
        assert bubble.clock.now == 6.0
        assert server.open == 1
        await asyncio.gather(*tasks)
        await asyncio.sleep(1)
        assert server.open == 0
        pool._check_invariants()

    run_virtual(scenario)


def test_a_borrower_that_closes_the_pool_is_told_at_once() -> None:
    """It would wait for itself; its value is ended when it comes back."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        pool = server.pool(close_timeout=30.0)
        async with pool.acquire():
            with pytest.raises(StillLent, match="value 1"):
                await pool.aclose()
            assert bubble.clock.now < 1.0
            assert server.open == 1
        await asyncio.sleep(1)
        assert server.open == 0

    run_virtual(scenario)


def test_a_close_tells_those_in_line_and_ends_creations() -> None:
    """They get OwnerClosed; nothing that is made nevertheless is left open."""

    async def scenario(bubble: Bubble) -> None:
        server = Server(seconds=1.0)
        pool = server.pool()
        tasks = [asyncio.create_task(use(pool)) for _ in range(3)]
        await asyncio.sleep(0.5)
        await pool.aclose()
        for task in tasks:
            with pytest.raises(OwnerClosed):
                await task
        assert server.open == 0
        with pytest.raises(OwnerClosed):
            await use(pool)

    run_virtual(scenario)


def test_closing_loses_no_error() -> None:
    """Every value is ended, whatever the others do; failures and time-outs come together."""

    async def scenario(bubble: Bubble) -> None:
        ended = []

        async def end(connection: Connection) -> None:
            ended.append(connection.number)
            if connection.number == 0:
                raise OSError("refused")
            if connection.number == 1:
                await asyncio.sleep(1000)

        server = Server()
        pool = Pool(server.connect, end, max_size=3, close_timeout=2.0)
        with pytest.raises(ExceptionGroup) as caught:
            async with pool:
                await asyncio.gather(*(use(pool) for _ in range(3)))
        assert sorted(ended) == [0, 1, 2]
        assert {type(error) for error in caught.value.exceptions} >= {OSError}
        assert any(isinstance(error, TimeoutError) for error in caught.value.exceptions)
        assert pool.statistics().destroy_errors == 2

    run_virtual(scenario)


def test_a_destroy_that_ignores_its_cancellation_is_given_up() -> None:
    """The slot is free again, and the error says so."""

    async def scenario(bubble: Bubble) -> None:
        async def never(value: object) -> None:
            end = asyncio.get_running_loop().time() + 100
            while (left := end - asyncio.get_running_loop().time()) > 0:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(left)

        pool = Pool(object, never, max_size=1, close_timeout=2.0)
        async with pool.acquire():
            pass
        with pytest.raises(ReleaseTimeout, match="value 1 of pool 'pool'"):
            await pool.aclose()
        assert bubble.clock.now == 3.0
        await asyncio.sleep(200)

    run_virtual(scenario)


def test_close_is_idempotent_and_may_come_from_inside() -> None:
    """A creation that closes its own pool deadlocks nobody; a second closer waits for the first."""

    async def scenario(bubble: Bubble) -> None:
        async def create() -> object:
            await pool.aclose()
            return object()

        pool = Pool(create, lambda value: None, max_size=1)
        with pytest.raises(OwnerClosed):
            async with pool.acquire():
                pytest.fail("was lent")
        await asyncio.gather(pool.aclose(), pool.aclose())
        assert bubble.clock.now < 1.0
        assert pool.closed

    run_virtual(scenario)


def test_a_scope_owns_a_pool() -> None:
    """`await scope.enter(pool)`."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with Scope() as scope:
            pool = await scope.enter(server.pool(min_size=1))
            await use(pool)
        assert server.open == 0

    run_virtual(scenario)


def test_a_forgotten_close_is_a_warning() -> None:
    """It names the pool and how much was in it."""

    async def scenario() -> None:
        pool = Pool(object, lambda value: None, max_size=1, name="forgotten")
        async with pool.acquire():
            pass
        del pool
        gc.collect()

    with pytest.warns(ResourceWarning, match="pool 'forgotten' was dropped with 1 values"):
        asyncio.run(scenario())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_size": 0}, ValueError),
        ({"max_size": 1, "min_size": 2}, ValueError),
        ({"max_size": 1, "lifetime_jitter": 1.0}, ValueError),
        ({"max_size": 1, "max_idle": -1.0}, ValueError),
        ({"max_size": 1, "max_waiting": -1}, ValueError),
        ({"max_size": 1.5}, TypeError),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    """Before anything else happens."""
    with pytest.raises(error):
        Pool(object, print, **options)
    with pytest.raises(TypeError, match="destroy must be a function"):
        Pool(object, None, max_size=1)  # type: ignore[arg-type]


def test_a_snapshot_shows_what_a_pool_holds() -> None:
    """Values with their borrowers, work on them, and how many wait."""

    async def scenario(bubble: Bubble) -> None:
        async with Server().pool(max_size=1) as pool:
            tasks = [asyncio.create_task(use(pool), name=f"borrower {number}") for number in range(2)]
            await asyncio.sleep(0.5)
            text = str(take_snapshot())
            for line in ("pool 'db'", "waiting 1", "connection 'value 1', lent to 'borrower 0'"):
                assert line in text, text
            await asyncio.gather(*tasks)

    run_virtual(scenario)


# Every await struck


def opener(bubble: Bubble) -> Callable[[], Awaitable[Any]]:
    async def open_it() -> Any:
        await asyncio.sleep(0.01)
        return bubble.ledger.acquire("connection", kind="connection")

    return open_it


async def end(token: Any) -> None:
    await asyncio.sleep(0.01)
    token.release()


async def check(token: Any) -> bool:
    await asyncio.sleep(0.005)
    assert not token.releases
    return True


async def contend(bubble: Bubble) -> None:
    """Two values, four borrowers, one of them late and one of them failing; checks, resets and an idle time."""
    async with Pool(
        opener(bubble),
        end,
        max_size=2,
        max_idle=0.05,
        check=check,
        check_bypass=0.0,
        reset=check,
        close_timeout=1.0,
        create_timeout=1.0,
    ) as pool:

        async def borrows(*, fail: bool = False) -> None:
            with contextlib.suppress(KeyError):
                await borrow(fail)

        async def borrow(fail: bool) -> None:
            async with pool.acquire(timeout=1.0) as token:
                await asyncio.sleep(0.01)
                assert not token.releases, "ended under its borrower"
                if fail:
                    raise KeyError("planned")

        async with asyncio.TaskGroup() as group:
            group.create_task(borrows())
            group.create_task(borrows())
            group.create_task(borrows(fail=True))
            await asyncio.sleep(0.02)
            group.create_task(borrows())
            pool._check_invariants()
        pool._check_invariants()
    pool._check_invariants()


async def one_slot(bubble: Bubble) -> None:
    """One value, three in line, a drain, and a second round that needs the slot to be there still."""
    async with Pool(opener(bubble), end, max_size=1, close_timeout=1.0, create_timeout=1.0) as pool:

        async def borrows() -> None:
            with contextlib.suppress(Exception):
                async with pool.acquire():
                    await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(borrows())
        assert await pool.drain(timeout=5.0), "a loan was lost"
        async with pool.acquire(timeout=5.0):
            pool._check_invariants()


@pytest.mark.parametrize("scenario", [contend, one_slot], ids=lambda function: function.__name__)
def test_no_interruption_leaves_anything(scenario: Any) -> None:
    """Cancellations and errors at every point of every user task: no slot lost, nothing left, nothing ended twice."""
    explore_cancellation(scenario, schedules=2).assert_clean()


@pytest.mark.parametrize("scenario", [contend, one_slot], ids=lambda function: function.__name__)
def test_no_order_leaves_anything(scenario: Any) -> None:
    """A few hundred orders of the ready tasks."""
    explore_schedules(scenario, runs=300).assert_clean()
