"""The last line of a run is counted in the process itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from pathlib import Path

import pytest

from lifecycle.cli import _owned
from lifecycle.cli._owned import still_owned


def test_what_is_left_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task of a closed loop, a thread, a child that runs, one that was not reaped, an open file of the store."""
    monkeypatch.setattr(_owned, "THREAD_TIME", 0.05)
    threads = frozenset(threading.enumerate())
    store = tmp_path / "jobs.sqlite"
    before = still_owned(threads, store)
    assert (before.threads, before.files, before.processes) == ((), (), ())

    async def forget() -> asyncio.Task[None]:
        return asyncio.create_task(asyncio.sleep(60), name="forgotten")  # type: ignore[arg-type]

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(forget())
    release = threading.Event()
    thread = threading.Thread(target=release.wait, args=(20,), name="left", daemon=True)
    thread.start()
    child = subprocess.Popen(["sleep", "60"])
    try:
        with store.open("w"):
            found = still_owned(threads, store)
        assert "forgotten" in found.tasks
        assert (found.threads, found.processes, found.files) == (("left",), (child.pid,), (str(store),))
        assert bool(found)
        assert "1 thread (left)" in str(found)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert still_owned(threads, store).processes == (child.pid,), "a child that was not reaped is still owned"
    finally:
        release.set()
        child.wait()
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()
    monkeypatch.undo()  # it ends in its own time
    after = still_owned(threads, store)
    assert (after.threads, after.processes, after.files) == ((), (), ())
    assert "forgotten" not in after.tasks
