"""A task factory of the loop that refuses: the connect fails, all who wait are told, and what was made is undone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from lifecycle import ConnectError, Retry, connect
from lifecycle.types import AttemptState, RetryFailure

from ..loops import some_turns
from .peer import Peer


class Factory:
    """Makes tasks, but for those that it is told to refuse: by what they do, and by how often that was asked for."""

    def __init__(self) -> None:
        self.refuses: Callable[[str, int], bool] = lambda work, count: False
        self.asked: Counter[str] = Counter()

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **kwargs: Any
    ) -> asyncio.Task[Any]:
        work = coro.__qualname__
        self.asked[work] += 1
        if self.refuses(work, self.asked[work]):
            raise RuntimeError("no task now")
        return asyncio.Task(coro, loop=loop, **kwargs)


def with_factory(scenario: Callable[[Factory], Coroutine[Any, Any, None]]) -> None:
    """Run *scenario* on a loop with such a factory."""

    async def main() -> None:
        factory = Factory()
        asyncio.get_running_loop().set_task_factory(factory)  # type: ignore[arg-type]
        async with asyncio.timeout(30):
            await scenario(factory)

    asyncio.run(main())


def test_an_attempt_that_is_refused_is_a_failed_one() -> None:
    """It is told, by the poll that began it, and the attempt can be closed."""

    async def scenario(factory: Factory) -> None:
        factory.refuses = lambda work, _: work == "Trial._run"
        attempt = connect(Peer().connector, "a")
        with pytest.raises(ConnectError, match="no task now"):
            attempt.poll()
        assert attempt.state is AttemptState.FAILED
        attempt._check_invariants()
        await attempt.aclose()

    with_factory(scenario)


def test_another_attempt_that_is_refused_ends_the_connect() -> None:
    """Who waits for it is told, where nothing but a timer has called."""

    async def scenario(factory: Factory) -> None:
        factory.refuses = lambda work, count: work == "Trial._run" and count == 2
        attempt = connect(Peer(failures=9).connector, "a", retry=Retry(backoff=(0.01, 0.01)))
        with pytest.raises(ConnectError, match="no task now") as caught:
            await attempt
        assert caught.value.attempts == 2

    with_factory(scenario)


def test_a_refusal_is_tried_again_where_it_is_covered() -> None:
    """It is an error as any other."""

    async def scenario(factory: Factory) -> None:
        factory.refuses = lambda work, count: work == "Trial._run" and count < 3
        attempt = connect(Peer().connector, "", retry=Retry(backoff=(0.0, 0.0), retry_on=RuntimeError))
        await attempt
        assert attempt.attempts == 3

    with_factory(scenario)


def test_a_refused_hook_ends_the_connect() -> None:
    """As one that raises."""
    told: list[RetryFailure] = []

    async def scenario(factory: Factory) -> None:
        factory.refuses = lambda work, _: work == "Chore._run"
        with pytest.raises(ConnectError, match=r"on_failure .* as well: RuntimeError\('no task now'\)"):
            await connect(Peer(failures=9).connector, "", name="db", retry=Retry(on_failure=told.append))
        assert told == []

    with_factory(scenario)


def test_what_has_to_be_undone_is_not_for_a_factory_to_refuse() -> None:
    """A success that nobody takes, and a connector that is abandoned."""
    release = asyncio.Event()

    async def stubborn(stages: Any, peer: Peer) -> None:
        await stages.acquire(peer.make, "a", release=peer.release)
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def scenario(factory: Factory) -> None:
        peer = Peer()
        taken = connect(peer.connector, "ab")
        while taken.state is not AttemptState.CONNECTED:
            if taken.state is AttemptState.NEW:
                taken.poll()
                continue
            await asyncio.sleep(0.01)
        abandoned = connect(stubborn, peer, close_timeout=0.1)
        abandoned.poll()
        await asyncio.sleep(0.1)
        assert sorted(peer.live) == ["a", "a", "b"]
        factory.refuses = lambda *_: True
        await taken.aclose()
        with pytest.raises(TimeoutError, match="abandoned"):
            await abandoned.aclose()
        assert peer.live == []
        factory.refuses = lambda *_: False
        release.set()
        await some_turns()

    with_factory(scenario)
