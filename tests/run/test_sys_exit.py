"""`sys.exit` in whatever runs beside main: its exit code, as from main, and no noise."""

from __future__ import annotations

import pytest

from .program import running

#: What main does, and where it leaves it to.
WAYS = {
    "main": "await leave()",
    "background": "create_background_task(leave())",
    "background_at_once": "create_background_task(leave_at_once())",
    "background_function": "background(leave)()",
    "manager": """
        async with TaskManager() as manager:
            manager.start_soon(leave)
            await asyncio.sleep(60)
    """,
    "group": """
        async with TaskGroup() as group:
            group.start_soon(leave)
            await asyncio.sleep(60)
    """,
    "scope": """
        async with Scope() as scope:
            scope.start_soon(leave)
            await asyncio.sleep(60)
    """,
    "scope_without_a_block": """
        scope = Scope()
        scope.start_soon(leave)
        await asyncio.sleep(60)
    """,
    "child_scope": """
        async with Scope() as scope:
            scope.child().start_soon(leave)
            await asyncio.sleep(60)
    """,
    "child_scope_without_a_block": """
        scope = Scope()
        scope.child().start_soon(leave)
        await asyncio.sleep(60)
    """,
    "timer": """
        async with TaskManager() as manager:
            manager.start_soon(fixed_rate(leave, 0.01))
            await asyncio.sleep(60)
    """,
    "server": """
        async with serve_tcp(leave) as server:
            async with await anyio.connect_tcp("127.0.0.1", server.port):
                await asyncio.sleep(60)
    """,
    "thread": "await asyncio.to_thread(sys.exit, 7)",
    "thread_of_the_background": "create_background_task(asyncio.to_thread(sys.exit, 7))",
    "worker_thread_of_anyio": "create_background_task(anyio.to_thread.run_sync(sys.exit, 7))",
    "callback_of_the_loop": """
        asyncio.get_running_loop().call_soon(sys.exit, 7)
        await asyncio.sleep(60)
    """,
    "release": """
        async with Scope() as scope:
            scope.callback(sys.exit, 7)
    """,
}

PROGRAM = """
    from lifecycle import TaskGroup, background, fixed_rate, serve_tcp

    async def leave(*_):
        await asyncio.sleep(0.01)
        sys.exit(7)

    async def leave_at_once():
        sys.exit(7)

    async def main():
"""


def program_of(way: str) -> str:
    """Return the program whose main leaves by that way."""
    return PROGRAM + "".join(f"        {line.removeprefix('    ')}\n" for line in WAYS[way].split("\n"))


@pytest.mark.parametrize("way", WAYS)
def test_an_exit_code_and_no_noise(way: str) -> None:
    """Also where a loop, of either kind, runs in a thread: that ends, and the process goes on."""
    in_threads = """
        for use_uvloop in (False, True):
            thread = threading.Thread(target=run, args=[main], kwargs=dict(use_uvloop=use_uvloop))
            thread.start()
            thread.join()
            say("goes on")
        run(main)
    """
    with running(program_of(way), in_threads) as program:
        code, said, errors = program.end()
    assert (code, said, errors) == (7, ["goes on", "goes on"], "")


@pytest.mark.parametrize("way", ["background", "callback_of_the_loop"])
def test_an_exit_code_and_no_noise_from_uvloop(way: str) -> None:
    """In the main thread."""
    with running(program_of(way), "run(main, use_uvloop=True)") as program:
        assert program.end() == (7, [], "")
