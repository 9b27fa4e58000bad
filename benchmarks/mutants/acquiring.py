"""Mistakes between the acquisition of one thing and its release."""

import asyncio
import contextlib

import anyio

from ._table import Connection, mutant


@mutant("cleanup only on success")
async def closed_on_success_only(bubble):
    connection = await Connection.open(bubble)
    await connection.use()
    connection.close()


@mutant("cleanup only on failure")
async def closed_on_failure_only(bubble):
    connection = await Connection.open(bubble)
    try:
        await connection.use()
    except BaseException:
        connection.close()
        raise


@mutant("cleanup only on failure")
async def forgotten_on_early_return(bubble):
    connection = await Connection.open(bubble)
    try:
        await connection.use()
    except TimeoutError:
        return
    except BaseException:
        connection.close()
        raise
    connection.close()


@mutant("except Exception")
async def closed_on_exceptions_but_not_on_cancel(bubble):
    connection = await Connection.open(bubble)
    try:
        await connection.use()
    except Exception:
        connection.close()
        raise
    connection.close()


@mutant("cleanup only on CancelledError")
async def closed_on_cancel_but_not_on_errors(bubble):
    connection = await Connection.open(bubble)
    try:
        await connection.use()
    except asyncio.CancelledError:
        connection.close()
        raise
    connection.close()


@mutant("cleanup only on some errors")
async def closed_on_os_errors_only(bubble):
    connection = await Connection.open(bubble)
    try:
        await connection.use()
    except (OSError, asyncio.CancelledError):
        connection.close()
        raise
    connection.close()


@mutant("checkpoint between acquire and try")
async def a_wait_before_the_try(bubble):
    connection = await Connection.open(bubble)
    await asyncio.sleep(0)
    try:
        await connection.use()
    finally:
        connection.close()


@mutant("checkpoint between acquire and try")
async def a_second_acquire_before_the_try(bubble):
    first = await Connection.open(bubble, "first")
    second = await Connection.open(bubble, "second")
    try:
        await second.use()
    finally:
        second.close()
        first.close()


@mutant("missing shield in async cleanup")
async def unshielded_goodbye(bubble):
    connection = await Connection.open(bubble)
    try:
        await connection.use()
    finally:
        await connection.aclose()


@mutant("anyio shield only, native cancel")
async def goodbye_under_an_anyio_shield(bubble):
    connection = await Connection.open(bubble)
    try:
        await connection.use()
    finally:
        with anyio.CancelScope(shield=True):
            await connection.aclose()


@mutant("missing shield in async cleanup")
async def goodbye_under_asyncio_shield(bubble):
    connection = await Connection.open(bubble)
    try:
        await connection.use()
    finally:
        await asyncio.shield(connection.aclose())


@mutant("partial rollback")
async def rollback_stops_at_the_first_error(bubble):
    opened = []
    try:
        opened += [await Connection.open(bubble, "first"), await Connection.open(bubble, "second")]
    finally:
        for connection in reversed(opened):
            await connection.aclose()


@mutant("partial rollback")
async def rollback_forgets_what_was_opened_first(bubble):
    first = await Connection.open(bubble, "first")
    try:
        second = await Connection.open(bubble, "second")
    except Exception:
        first.close()
        raise
    try:
        await second.use()
    finally:
        second.close()
        first.close()


@mutant("wrong order")
async def owner_closed_before_what_it_owns(bubble):
    owner = await Connection.open(bubble, "owner")
    try:
        child = await Connection.open(bubble, "child", owner.token)
    except BaseException:
        owner.close()
        raise
    owner.close()
    child.close()


@mutant("double release")
async def closed_by_the_handler_and_by_the_finally(bubble):
    connection = await Connection.open(bubble)
    try:
        await connection.use()
    except BaseException:
        connection.close()
        raise
    finally:
        connection.close()


@mutant("cleanup not awaited")
async def goodbye_in_a_task_of_nobody(bubble):
    connection = await Connection.open(bubble)
    try:
        await connection.use()
    finally:
        bubble.state.closing = asyncio.get_running_loop().create_task(connection.aclose())


@mutant("async generator not closed")
async def generator_left_in_the_middle(bubble):
    async def rows():
        connection = await Connection.open(bubble)
        try:
            for number in range(3):
                await connection.use()
                yield number
        finally:
            connection.close()

    bubble.state.rows = rows()
    async for number in bubble.state.rows:
        if number == 1:
            break


@mutant("late result")
async def timeout_races_with_the_connect(bubble):
    connecting = asyncio.create_task(Connection.open(bubble))
    done, _ = await asyncio.wait([connecting], timeout=0.01)
    if not done:
        connecting.cancel()
        raise TimeoutError
    connecting.result().close()


@mutant("late result")
async def connect_goes_on_behind_a_shield(bubble):
    connection = await asyncio.shield(Connection.open(bubble))
    try:
        await connection.use()
    finally:
        connection.close()


@mutant("late result")
async def connect_is_awaited_as_a_task(bubble):
    connecting = asyncio.create_task(Connection.open(bubble))
    try:
        connection = await connecting
    except asyncio.CancelledError:
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        raise
    connection.close()


@mutant("k=0: start never ran")
async def argument_of_a_task_that_never_started(bubble):
    async def serve(connection):
        try:
            await connection.use()
        finally:
            connection.close()

    connection = await Connection.open(bubble)
    await asyncio.gather(asyncio.create_task(serve(connection)), return_exceptions=True)


@mutant("never awaited")
async def coroutine_made_too_early(bubble):
    goodbye = asyncio.sleep(0.01)
    with contextlib.closing(await Connection.open(bubble)) as connection:
        await connection.use()
    await goodbye
