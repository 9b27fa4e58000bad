"""Mistakes with things that several tasks share: locks, pools, caches, single flight, closing."""

import asyncio
import collections
import contextlib

from ._table import Connection, mutant


async def lock_is_free(bubble):
    async with asyncio.timeout(5):
        await bubble.state.lock.acquire()


@mutant("lock kept", then=lock_is_free)
async def lock_released_without_finally(bubble):
    bubble.state.lock = lock = asyncio.Lock()
    await lock.acquire()
    await asyncio.sleep(0.01)
    lock.release()


@mutant("lock kept", then=lock_is_free)
async def slot_kept_on_errors(bubble):
    bubble.state.lock = slots = asyncio.Semaphore(1)
    await slots.acquire()
    try:
        await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        slots.release()
        raise
    slots.release()


class Slots:
    """A semaphore by hand: one slot, handed to the waiter that is next."""

    def __init__(self, careful_handing=False, gives_back=False):
        self.free = 1
        self.waiters = collections.deque()
        self.careful_handing = careful_handing
        self.gives_back = gives_back

    async def acquire(self):
        if self.free and not self.waiters:
            self.free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self.waiters:
                self.waiters.remove(waiter)
            elif self.gives_back and not waiter.cancelled():
                self.release()
            raise

    def release(self):
        while self.waiters:
            waiter = self.waiters.popleft()
            if waiter.cancelled() and self.careful_handing:
                continue
            if not waiter.done():
                waiter.set_result(None)
            return
        self.free += 1


async def slot_is_free(bubble):
    async with asyncio.timeout(5):
        await bubble.state.slots.acquire()


async def three_users(bubble, slots):
    bubble.state.slots = slots

    async def user():
        await slots.acquire()
        try:
            await asyncio.sleep(0.01)
        finally:
            slots.release()

    tasks = [asyncio.create_task(user()) for _ in range(3)]
    try:
        await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@mutant("lost notify", then=slot_is_free)
async def slot_lost_with_the_waiter_that_was_woken(bubble):
    await three_users(bubble, Slots(careful_handing=True))


@mutant("token granted to a cancelled waiter", then=slot_is_free)
async def slot_handed_to_a_cancelled_waiter(bubble):
    await three_users(bubble, Slots(gives_back=True))


class Pool:
    """One connection, lent and returned."""

    def __init__(self, bubble):
        self.bubble = bubble
        self.idle = []

    async def borrow(self):
        return self.idle.pop() if self.idle else await Connection.open(self.bubble)

    def close(self):
        while self.idle:
            self.idle.pop().close()


@mutant("borrowed and not returned")
async def loan_lost_on_cancel(bubble):
    pool = Pool(bubble)
    try:
        for _ in range(2):
            connection = await pool.borrow()
            await connection.use()
            pool.idle.append(connection)
    finally:
        pool.close()


@mutant("returned to the wrong owner")
async def loan_returned_to_a_pool_that_has_closed(bubble):
    pool = Pool(bubble)

    async def user():
        connection = await pool.borrow()
        try:
            await connection.use()
        finally:
            pool.idle.append(connection)

    task = asyncio.create_task(user())
    try:
        await asyncio.sleep(0.03)
    finally:
        task.cancel()
        pool.close()
        await asyncio.gather(task, return_exceptions=True)


class Job:
    def __init__(self, number):
        self.number = number


@mutant("map key does not match")
async def entry_removed_by_a_wrapped_key(bubble):
    running = {}

    async def run(job):
        await asyncio.sleep(0.01)
        token = running.pop(Job(job.number), None)
        if token is not None:
            token.release()

    job = Job(1)
    running[job] = bubble.ledger.acquire("entry", kind="map entry")
    await run(job)


@mutant("map key does not match")
async def entry_stays_when_the_job_is_cancelled(bubble):
    running = {1: bubble.ledger.acquire("entry", kind="map entry")}
    await asyncio.sleep(0.01)
    running.pop(1).release()


class Flight:
    """Single flight: one task makes the value, all callers share it."""

    def __init__(self, bubble):
        self.bubble = bubble
        self.pending = None

    async def make(self):
        with contextlib.closing(await Connection.open(self.bubble)) as connection:
            await connection.use()
        return "value"


async def three_callers(call):
    async def caller():
        async with asyncio.timeout(5):
            return await call()

    tasks = [asyncio.create_task(caller()) for _ in range(3)]
    try:
        await asyncio.wait(tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    cancelled = sum(task.cancelled() for task in tasks)
    errors = [task.exception() for task in tasks if not task.cancelled()]
    assert cancelled <= 1, "one caller's cancel hit the others"
    assert not any(isinstance(error, TimeoutError) for error in errors), "followers were stranded"


@mutant("single flight: a caller's cancel kills the shared task")
async def caller_takes_the_others_with_it(bubble):
    flight = Flight(bubble)

    async def call():
        if flight.pending is None:
            flight.pending = asyncio.create_task(flight.make())
        return await flight.pending

    await three_callers(call)


@mutant("single flight: a leader's cancel strands its followers")
async def leader_strands_followers(bubble):
    flight = Flight(bubble)

    async def call():
        if flight.pending is not None:
            return await asyncio.shield(flight.pending)
        flight.pending = asyncio.get_running_loop().create_future()
        value = await flight.make()
        flight.pending.set_result(value)
        return value

    await three_callers(call)


@mutant("check then act over a checkpoint")
async def two_connections_for_one_key(bubble):
    cache = {}

    async def get(delay):
        await asyncio.sleep(delay)
        if "key" not in cache:
            cache["key"] = await Connection.open(bubble)
        return cache["key"]

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(get(0.01))
    cache["key"].close()


@mutant("check then act over a checkpoint")
async def two_connections_in_some_orders_only(bubble):
    cache = {}
    opened = []

    async def get(turns):
        for _ in range(turns):
            await asyncio.sleep(0)
        if "key" not in cache:
            opened.append(bubble.ledger.acquire("connection"))
            await asyncio.sleep(0)
            cache["key"] = opened[-1]

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(get(0))
            group.create_task(get(4))
        assert len(opened) <= 1, "two connections for one key"
    finally:
        for token in opened:
            token.release()


@mutant("expiry while in use")
async def swept_under_its_user(bubble):
    connection = bubble.ledger.acquire("connection")

    async def user():
        for _ in range(2):
            assert not connection.releases, "swept under its user"
            await asyncio.sleep(0)

    async def sweeper():
        for _ in range(4):
            await asyncio.sleep(0)
        if not connection.releases:
            connection.release()

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(user())
            group.create_task(sweeper())
    finally:
        if not connection.releases:
            connection.release()


@mutant("entry resurrected by a concurrent get")
async def refreshed_after_it_was_closed(bubble):
    value = bubble.ledger.acquire("value")
    cache = {"key": value}

    async def get():
        found = cache.get("key")
        await asyncio.sleep(0)
        if found is not None:
            cache["key"] = found

    async def expire():
        for _ in range(3):
            await asyncio.sleep(0)
        cache.pop("key").release()

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(get())
            group.create_task(expire())
        assert value not in cache.values() or not value.releases, "a closed value is in the cache again"
    finally:
        if not value.releases:
            value.release()


@mutant("close is not idempotent")
async def second_closer_closes_again(bubble):
    connection = await Connection.open(bubble)
    async with asyncio.TaskGroup() as group:
        group.create_task(connection.aclose())
        group.create_task(connection.aclose())


@mutant("second closer does not wait")
async def second_closer_returns_too_early(bubble):
    connection = await Connection.open(bubble)
    closing = False

    async def aclose():
        nonlocal closing
        if closing:
            return
        closing = True
        await connection.aclose()

    first = asyncio.create_task(aclose())
    try:
        await asyncio.sleep(0)
        await aclose()
        assert connection.token.releases, "aclose() returned, and the connection is still open"
    finally:
        await asyncio.gather(first, return_exceptions=True)


@mutant("item lost")
async def item_lost_between_get_and_put_back(bubble):
    queue = asyncio.Queue()
    queue.put_nowait(bubble.ledger.acquire("item"))
    try:
        item = await queue.get()
        await asyncio.sleep(0.01)
        queue.put_nowait(item)
    finally:
        while not queue.empty():
            queue.get_nowait().release()
