"""Mistakes with tasks: who waits for them, who ends them, who hears of their errors."""

import asyncio
import contextlib

import anyio

from ._table import Connection, mutant


@mutant("lost task reference")
async def fire_and_forget(bubble):
    asyncio.get_running_loop().create_task(asyncio.sleep(1), name="forgotten")
    await asyncio.sleep(0.01)


@mutant("unowned child on the error path")
async def child_left_when_the_body_fails(bubble):
    child = asyncio.create_task(asyncio.sleep(0.05))
    await asyncio.sleep(0.01)
    await child


@mutant("unowned child on the error path")
async def child_cancelled_but_not_joined(bubble):
    async def child():
        with contextlib.closing(await Connection.open(bubble)) as connection:
            try:
                await connection.use()
            finally:
                await asyncio.sleep(0.01)

    task = asyncio.create_task(child())
    try:
        await asyncio.sleep(0.015)
    finally:
        task.cancel()


@mutant("gather leaves a sibling")
async def gather_goes_on_after_the_first_error(bubble):
    async def fetch(delay):
        with contextlib.closing(await Connection.open(bubble, f"fetch {delay}")):
            await asyncio.sleep(delay)

    await asyncio.gather(fetch(0.01), fetch(0.05))


@mutant("wait leaves a sibling")
async def the_slower_of_two_is_left(bubble):
    tasks = [asyncio.create_task(asyncio.sleep(delay)) for delay in (0.01, 0.05)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        raise
    await asyncio.wait(tasks)


@mutant("swallowed cancel")
async def everything_is_caught(bubble):
    with contextlib.suppress(BaseException):
        await asyncio.sleep(0.01)


@mutant("swallowed cancel")
async def retried_although_cancelled(bubble):
    for _ in range(3):
        try:
            await asyncio.sleep(0.01)
        except (OSError, asyncio.CancelledError):
            continue
        break


@mutant("swallowed cancel")
async def joined_child_hides_who_was_cancelled(bubble):
    child = asyncio.create_task(asyncio.sleep(0.02))
    await asyncio.sleep(0.005)
    child.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await child


@mutant("cancel turned into another error")
async def cleanup_error_masks_the_cancel(bubble):
    try:
        await asyncio.sleep(0.01)
    finally:
        if bubble.clock.time() < 0.01:
            raise RuntimeError("closed too early")


@mutant("background crash unobserved")
async def nobody_asks_the_worker(bubble):
    async def worker():
        await asyncio.sleep(0.01)

    task = asyncio.create_task(worker())
    try:
        await asyncio.sleep(0.03)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


@mutant("error dropped from a group")
async def only_the_first_error_is_looked_at(bubble):
    async def worker(delay):
        await asyncio.sleep(delay)

    tasks = [asyncio.create_task(worker(delay)) for delay in (0.01, 0.01)]
    try:
        await asyncio.wait(tasks)
    finally:
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    if tasks[0].exception() is not None:
        raise tasks[0].exception()


@mutant("uncancel not restored")
async def cancel_taken_back_without_uncancel(bubble):
    connection = await Connection.open(bubble)
    inner = asyncio.create_task(asyncio.sleep(0.01))
    try:
        await inner
    except asyncio.CancelledError:
        inner.cancel()
    finally:
        connection.close()
    async with asyncio.timeout(0.02):
        await asyncio.sleep(0.05)


@mutant("scope left in another task")
async def scope_entered_here_and_left_there(bubble):
    scope = anyio.CancelScope()
    scope.__enter__()

    async def leave():
        await asyncio.sleep(0.01)
        scope.__exit__(None, None, None)

    task = asyncio.create_task(leave())
    await task


@mutant("startup handshake")
async def value_of_start_is_lost(bubble):
    started = asyncio.get_running_loop().create_future()

    async def server():
        connection = await Connection.open(bubble)
        if not started.cancelled():
            started.set_result(connection)

    task = asyncio.create_task(server())
    try:
        connection = await started
    except BaseException:
        task.cancel()
        await asyncio.wait([task])
        raise
    connection.close()
    await task


@mutant("timer left after close")
async def timeout_handle_is_not_cancelled(bubble):
    handle = asyncio.get_running_loop().call_later(30, print)
    await asyncio.sleep(0.01)
    handle.cancel()


@mutant("timer left after close")
async def heartbeat_reschedules_itself(bubble):
    loop = asyncio.get_running_loop()
    closed = False

    def beat():
        bubble.state.handle = loop.call_later(0.02, beat)

    beat()
    await asyncio.sleep(0.05)
    if not closed:
        bubble.state.handle.cancel()


@mutant("callback error")
async def result_set_on_a_cancelled_future(bubble):
    loop = asyncio.get_running_loop()
    answer = loop.create_future()
    loop.call_later(0.01, answer.set_result, 1)
    await answer


@mutant("busy loop")
async def spins_until_a_child_has_ended(bubble):
    child = asyncio.create_task(asyncio.sleep(0.01))
    done = False
    while not done:
        try:
            await asyncio.sleep(0.005)
            done = child.done()
        except asyncio.CancelledError:
            while not child.cancelled():
                await asyncio.sleep(0)
            raise
    await child


@mutant("retry overlaps")
async def second_attempt_beside_the_first(bubble):
    attempts = []

    async def attempt(number):
        with contextlib.closing(await Connection.open(bubble, f"attempt {number}")):
            await asyncio.sleep(0.02)

    try:
        for number in range(2):
            attempts.append(asyncio.create_task(attempt(number)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(attempts[-1]), 0.01)
    finally:
        attempts[-1].cancel()
        await asyncio.wait([attempts[-1]])
