"""Random programs of a call that is tried again: what its attempts do, what its hook does, and when it is cancelled."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from lifecycle import Retry
from lifecycle.testing import Bubble, run_virtual
from lifecycle.types import RetryFailure

#: What an attempt does: succeeds, fails in a way that is covered or not, or makes a failure of a cancellation.
KINDS = ("succeeds", "fails", "is final", "turns")


@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=8),
    attempts=st.one_of(st.none(), st.integers(1, 8)),
    timeout=st.one_of(st.none(), st.floats(0.5, 20)),
    hook=st.sampled_from((0.0, 1.0)),
    cancelled=st.one_of(st.none(), st.floats(0, 20)),
)
def test_what_a_call_comes_to(
    kinds: list[str], attempts: int | None, timeout: float | None, hook: float, cancelled: float | None
) -> None:
    """No attempt begins beside another, after a success, a final error or a cancellation; none is one too many."""

    async def scenario(bubble: Bubble) -> None:
        loop = asyncio.get_running_loop()
        begun: list[float] = []
        told: list[int] = []
        running = 0
        ended_at = float("inf")

        async def attempt() -> str:
            nonlocal running
            assert running == 0
            assert loop.time() <= ended_at, "an attempt began after the end"
            kind = kinds[min(len(begun), len(kinds) - 1)]
            begun.append(loop.time())
            running += 1
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                if kind == "turns":
                    raise ConnectionResetError("lost") from None
                raise
            finally:
                running -= 1
            if kind == "succeeds":
                return "done"
            raise ValueError if kind == "is final" else OSError("failed")

        async def note(failure: RetryFailure) -> None:
            await asyncio.sleep(hook)
            told.append(failure.attempt)

        retry = Retry(attempts=attempts, timeout=timeout, backoff=(1.0, 1.0), jitter=0.0, on_failure=note)
        began = loop.time()
        task = asyncio.ensure_future(retry.call(attempt))
        if cancelled is not None:
            await asyncio.wait([task], timeout=cancelled)
            ended_at = loop.time()
            task.cancel()
        await asyncio.wait([task], timeout=100)
        ended = task.done()
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.done(), "it goes on after its cancellation"
        if not task.cancelled():
            assert not isinstance(task.exception(), AssertionError), task.exception()
        assert running == 0
        assert attempts is None or len(begun) <= attempts
        assert told == list(range(1, len(told) + 1))
        if timeout is not None and cancelled is None:
            assert ended
            assert loop.time() - began <= timeout + hook + 0.001
        for index, kind in enumerate(kinds[: len(begun)]):
            assert kind not in ("succeeds", "is final") or index == len(begun) - 1, "an attempt after the last"

    run_virtual(scenario)
