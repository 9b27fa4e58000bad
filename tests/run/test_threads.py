"""Threads that outlive a run: who is waited for, what is said of the stuck ones, and that the process ends."""

from __future__ import annotations

import functools
import signal
import threading
import time
from collections.abc import Callable

import pytest

from lifecycle._run.threads import leave_behind

from .program import LOOPS, running


def test_a_worker_thread_that_is_stuck_is_named_and_left() -> None:
    """It would keep the interpreter alive for ten minutes."""
    body = """
        async def main():
            def block():
                say("ready")
                time.sleep(600)
            await anyio.to_thread.run_sync(block, abandon_on_cancel=True)

        run(main, cancel_timeout=0.2)
    """
    with running(body) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        returned, _, errors = program.end()
    assert returned == 143
    assert "still running, abandoned: thread " in errors


def test_threads_that_end_in_time_are_waited_for() -> None:
    """A worker and a daemon: the worker may end, the daemon is nobody's concern."""
    body = """
        def work():
            say("ready")
            time.sleep(0.3)
            say("worker ended")

        async def main():
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            threading.Thread(target=work).start()
            await asyncio.sleep(60)

        run(main)
    """
    with running(body) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        assert program.end() == (143, ["worker ended"], "")


# Stuck worker threads

STUCK = """
    import atexit
    atexit.register(say, "the interpreter has ended")

    def work():
        time.sleep(600)

    async def main():
        loop = asyncio.get_running_loop()
        begun = {begun}
        while threading.active_count() < 2:  # on a busy machine a thread may be long in coming
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        {then}
        return 5
"""
SIGNAL = "os.kill(os.getpid(), signal.SIG{}); await asyncio.sleep(60)"

WORKERS = pytest.mark.parametrize(
    ("begun", "told"),
    [
        ("loop.run_in_executor(None, work)", "thread 'asyncio_0', which runs work\n    <string>:"),
        ("asyncio.ensure_future(asyncio.to_thread(time.sleep, 600))", "thread 'asyncio_0', which runs sleep\n"),
        (
            "asyncio.ensure_future(anyio.to_thread.run_sync(work, abandon_on_cancel=True))",
            "thread 'AnyIO worker thread', which runs work\n    <string>:",
        ),
        (
            "asyncio.ensure_future(anyio.to_thread.run_sync(time.sleep, 600, abandon_on_cancel=True))",
            "thread 'AnyIO worker thread', which runs sleep\n",
        ),
        (
            "loop.run_in_executor(None, threading.Event().wait)",
            "thread 'asyncio_0', which runs Event.wait\n",
        ),
    ],
    ids=["executor", "to_thread", "anyio", "anyio_in_c", "inside_threading"],
)


@WORKERS
def test_a_normal_end_is_bounded_as_well(begun: str, told: str) -> None:
    """A stuck worker is named with what it runs, and everything else of the program's end takes place."""
    with running(STUCK.format(begun=begun, then=""), "sys.exit(run(main, cancel_timeout=0.2))") as program:
        returned, said, errors = program.end()
    assert (returned, said) == (5, ["the interpreter has ended"])
    assert errors.startswith(f"lifecycle: still running, abandoned: {told}")
    assert errors.count("abandoned") == 1


def test_the_end_takes_place_in_the_process_itself() -> None:
    """Who waits for it, stops it or looks for it by its number meets what is at its end, and files are written once."""
    body = """
        class Last:
            def __init__(self):
                self.pid, self.getpid, self.write = os.getpid(), os.getpid, os.write

            def __del__(self):
                self.write(1, b"itself\\n" if self.getpid() == self.pid else b"another\\n")

        run(main, cancel_timeout=0.1)
        last = Last()
    """
    begun = "loop.run_in_executor(None, time.sleep, 600)"
    with running(STUCK.format(begun=begun, then=""), body) as program:
        returned, said, _ = program.end()
    assert (returned, said) == (0, ["the interpreter has ended", "itself"])


@LOOPS
@pytest.mark.parametrize(("name", "code"), [("INT", -signal.SIGINT), ("TERM", 143)])
def test_the_end_by_a_signal_is_bounded(name: str, code: int, use_uvloop: bool) -> None:
    """With the exit code of the signal, also for threads that nobody would wait for on a normal end."""
    begun = "[loop.run_in_executor(None, work), threading.Thread(target=work).start()]"
    body = STUCK.format(begun=begun, then=SIGNAL.format(name))
    with running(body, f"run(main, cancel_timeout=0.2, use_uvloop={use_uvloop})") as program:
        returned, said, errors = program.end()
    assert (returned, said) == (code, ["the interpreter has ended"])
    assert "abandoned: thread 'asyncio_0', which runs work" in errors
    assert "abandoned: thread 'Thread-1 (work)', which runs work" in errors
    assert errors.count("abandoned") == 2
    assert errors.endswith("KeyboardInterrupt\n") is (name == "INT")


def test_threads_that_are_not_stuck_are_waited_for_beside_one_that_is() -> None:
    """The interpreter lets go of that one only."""
    body = """
        def slow():
            time.sleep(0.5)
            say("slow ended")

        run(main, cancel_timeout=0.1)
        threading.Thread(target=slow).start()
    """
    begun = "loop.run_in_executor(None, work)"
    with running(STUCK.format(begun=begun, then=""), body) as program:
        returned, said, _ = program.end()
    assert (returned, said) == (0, ["slow ended", "the interpreter has ended"])


@pytest.mark.parametrize("pool", ["concurrent.futures.ThreadPoolExecutor()", None])
def test_threads_of_the_program_are_its_own_affair_on_a_normal_end(pool: str | None) -> None:
    """A thread or a pool that it has made itself may outlive the run: nobody is told, and the interpreter waits."""
    begin = "threading.Thread(target=work).start()" if pool is None else f"{pool}.submit(work)"
    body = f"""
        import concurrent.futures

        def work():
            time.sleep(0.6)
            say("ended")

        async def main():
            {begin}

        run(main, cancel_timeout=0.1)
        say("after the run")
    """
    with running(body) as program:
        assert program.end() == (0, ["after the run", "ended"], "")


def test_a_worker_may_need_the_loop_to_end() -> None:
    """The loop runs while its workers are waited for."""
    body = """
        async def answer():
            return 42

        def work(loop):
            time.sleep(0.3)
            say(asyncio.run_coroutine_threadsafe(answer(), loop).result())

        async def main():
            loop = asyncio.get_running_loop()
            loop.run_in_executor(None, work, loop)

        run(main)
    """
    with running(body) as program:
        assert program.end() == (0, ["42"], "")


def test_no_idle_worker_is_left_or_named() -> None:
    """They have nothing to do, and end with their loop."""
    body = """
        async def main():
            await asyncio.to_thread(time.sleep, 0)
            await anyio.to_thread.run_sync(time.sleep, 0)

        run(main)
        say(threading.active_count())
    """
    with running(body) as program:
        assert program.end() == (0, ["1"], "")


def test_an_asynchronous_generator_that_does_not_end_is_left() -> None:
    """Nobody closes it but the run, which has other things to do than to wait for it for ever."""
    body = """
        async def deaf():
            try:
                yield
            finally:
                while True:
                    try:
                        await asyncio.sleep(600)
                    except asyncio.CancelledError:
                        pass

        kept = []

        async def main():
            kept.append(deaf())
            await anext(kept[0])
            return 5

        sys.exit(run(main, cancel_timeout=0.1))
    """
    with running(body) as program:
        returned, _, errors = program.end()
    assert returned == 5
    assert "still running, abandoned: closing of asynchronous generators" in errors


def test_a_thread_that_ends_in_the_moment_in_which_it_is_left_keeps_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was alive when it was looked at; those that come after it are left all the same."""

    class SeenAlive(threading.Thread):
        def is_alive(self) -> bool:
            return True

    at_exit: list[Callable[[], object]] = []
    register = lambda fn, *args: at_exit.append(functools.partial(fn, *args))  # noqa: E731
    monkeypatch.setattr(threading, "_register_atexit", register)
    monkeypatch.setattr(threading, "_thread_shutdown", None, raising=False)  # so that it is put back
    gate, over = threading.Event(), threading.Event()

    def stay() -> None:
        gate.wait()
        over.set()

    ended, joined, stuck = SeenAlive(target=int), SeenAlive(target=int), threading.Thread(target=stay, daemon=True)
    for thread in (ended, joined, stuck):
        thread.start()
    joined.join()
    lock = getattr(ended, "_tstate_lock", None)  # that of a thread before Python 3.13
    while lock is not None and lock.locked():
        time.sleep(0)
    leave_behind([ended, joined, stuck])
    for call in at_exit:
        call()
    stuck.join(10)
    assert not stuck.is_alive()  # for the interpreter
    assert not over.is_set()
    gate.set()
    assert over.wait(10)
