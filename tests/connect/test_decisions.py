"""Decisions of users' code between two attempts: whatever they do, the connect comes to its end and says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle import ConnectError, ConnectTimeout, Retry, Stages, TimeoutExpired, connect
from lifecycle.testing import Bubble
from lifecycle.types import AttemptState, ConnectAttempt, RetryFailure

from ..loops import some_turns, virtual
from .peer import Peer


class Nonsense(Retry):
    """A policy with a pause of its own."""

    answer: Any = None

    def pause_after(self, attempts: int, error: BaseException, left: float) -> float | None:
        """Return what the class says, or raise it."""
        if isinstance(self.answer, BaseException):
            raise self.answer
        pause: float | None = self.answer
        return pause


class Strange(type):
    """A class of errors that cannot be asked whether something is one of them."""

    def __instancecheck__(cls, _: object) -> bool:
        raise ZeroDivisionError("instancecheck")


class StrangeError(Exception, metaclass=Strange):
    """An error of such a class."""


def answers(answer: object) -> Retry:
    """Return a policy whose pause is *answer*."""
    return type("Answering", (Nonsense,), {"answer": answer, "__slots__": ()})()


def raises(error: BaseException) -> Callable[[Any], Any]:
    """Return a function that raises *error*."""

    def function(_: object) -> Any:
        raise error

    return function


BAD: dict[str, tuple[Retry, type[BaseException]]] = {
    "a predicate that raises": (Retry(retry_on=raises(ZeroDivisionError())), ZeroDivisionError),
    "a predicate that returns nothing": (Retry(retry_on=lambda _: None), TypeError),  # type: ignore[arg-type,return-value]
    "a predicate that cancels": (Retry(retry_on=raises(asyncio.CancelledError())), asyncio.CancelledError),
    "a class that cannot be asked": (Retry(retry_on=StrangeError), ZeroDivisionError),
    "a class to give up on that cannot be asked": (Retry(give_up_on=StrangeError), ZeroDivisionError),
    "a pause that raises": (answers(ZeroDivisionError()), ZeroDivisionError),
    "a pause that is a text": (answers("soon"), TypeError),
    "a pause that is no number": (answers(float("nan")), ValueError),
    "a pause that never ends": (answers(float("inf")), ValueError),
    "a pause before the failure": (answers(-1.0), ValueError),
    "a hook that raises": (Retry(on_failure=raises(ZeroDivisionError())), ZeroDivisionError),
}


@pytest.mark.parametrize(("retry", "kind"), BAD.values(), ids=BAD)
@virtual
async def test_a_bad_decision_ends_the_connect(bubble: Bubble, retry: Retry, kind: type[BaseException]) -> None:
    """With an error that names it; what the attempt failed with is its context, and everything has been undone."""
    peer = Peer(failures=9)
    attempt = connect(peer.connector, "ab", retry=retry, name="db")
    with pytest.raises(ConnectError, match=r"'db' failed in stage 'hello', attempt 1, and .* as well") as caught:
        await attempt
    assert isinstance(caught.value.__cause__, kind)
    assert isinstance(caught.value.__cause__.__context__, ConnectionRefusedError)
    assert (peer.live, attempt.state) == ([], AttemptState.FAILED)
    attempt._check_invariants()


@pytest.mark.parametrize("settings", ["retry_on", "on_failure"])
def test_a_decision_that_ends_the_process_does(settings: str) -> None:
    """The connect fails, and the process ends by the error itself."""
    retry = Retry(**{settings: raises(SystemExit(7))})

    async def main() -> None:
        peer = Peer(seconds=0.001, failures=9)
        await asyncio.wait([asyncio.ensure_future(waits(connect(peer.connector, "a", retry=retry)))])
        await asyncio.sleep(60)

    async def waits(attempt: ConnectAttempt[str]) -> None:
        with pytest.raises(ConnectError):
            await attempt

    with pytest.raises(SystemExit, match="7"):
        asyncio.run(main())


@virtual
async def test_a_predicate_may_end_its_connect(bubble: Bubble) -> None:
    """It is cancelled, as it would have been a moment later."""

    def judge(error: Exception) -> bool:
        attempt.cancel("not that one again")
        return True

    attempt = connect(Peer(failures=9).connector, "a", retry=Retry(retry_on=judge))
    with pytest.raises(ConnectError, match="not that one again") as caught:
        await attempt
    assert attempt.state is AttemptState.CANCELLED
    assert isinstance(caught.value.__cause__, ConnectError)


@virtual
async def test_a_hook_is_told_of_every_failure_and_awaited(bubble: Bubble) -> None:
    """With what failed, and when it goes on; of the last one, too. Nothing of the attempt is left then."""
    loop = asyncio.get_running_loop()
    peer = Peer(failures=9)
    told: list[RetryFailure] = []
    ended: list[float] = []

    async def hook(failure: RetryFailure) -> None:
        assert (peer.live, attempt.state) == ([], AttemptState.ROLLING_BACK)
        attempt._check_invariants()
        await asyncio.sleep(5)
        told.append(failure)
        ended.append(loop.time())

    retry = Retry(attempts=3, backoff=(1.0, 3.0), jitter=0.0, on_failure=hook)
    attempt = connect(peer.connector, "a", retry=retry, name="db")
    began = loop.time()
    with pytest.raises(ConnectError, match="attempt 3"):
        await attempt
    assert [(each.name, each.attempt, each.pause) for each in told] == [("db", 1, 1.0), ("db", 2, 2.0), ("db", 3, None)]
    assert all(type(each.error) is ConnectionRefusedError for each in told)
    assert [each.elapsed for each in told] == pytest.approx([0.03, 6.06, 13.09])
    assert [time - began for time in ended] == pytest.approx([5.03, 11.06, 18.09])


@virtual
async def test_a_synchronous_hook_is_called(bubble: Bubble) -> None:
    """As an asynchronous one is."""
    told: list[int] = []
    retry = Retry(backoff=(0.0, 0.0), on_failure=lambda failure: told.append(failure.attempt))
    await connect(Peer(failures=2).connector, "", retry=retry)
    assert told == [1, 2]


@virtual
async def test_a_hook_is_not_told_of_a_cancellation(bubble: Bubble) -> None:
    """That is no failure of the attempt."""
    told: list[RetryFailure] = []
    attempt = connect(Peer().connector, "abc", retry=Retry(on_failure=told.append))
    attempt.poll()
    await attempt.aclose()
    assert told == []


async def for_ever(failure: RetryFailure) -> None:
    """Hang."""
    await asyncio.sleep(3600)


async def stubborn(failure: RetryFailure) -> None:
    """Hang, whoever asks for an end."""
    while True:
        try:
            await asyncio.sleep(10)
            return
        except asyncio.CancelledError:
            continue


@pytest.mark.parametrize("hook", [for_ever, stubborn])
@virtual
async def test_a_hook_that_hangs_ends_with_the_connect(bubble: Bubble, hook: Any) -> None:
    """It is cancelled, given `close_timeout`, and then nobody waits for it any more."""
    loop = asyncio.get_running_loop()
    attempt = connect(Peer(failures=9).connector, "a", retry=Retry(on_failure=hook), close_timeout=1.0)
    attempt.poll()
    await asyncio.sleep(1)
    assert attempt.state is AttemptState.ROLLING_BACK
    began = loop.time()
    if hook is for_ever:
        await attempt.aclose()
    else:
        with pytest.raises(TimeoutError, match="ignored its cancellation and was abandoned"):
            await attempt.aclose()
    assert loop.time() - began <= 2.0
    assert attempt.state is AttemptState.CANCELLED
    await asyncio.sleep(20)


@virtual
async def test_a_hook_counts_against_the_time_for_everything(bubble: Bubble) -> None:
    """And is ended with it."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(ConnectError, match="on_failure") as caught:
        await connect(Peer(failures=9).connector, "a", retry=Retry(timeout=3.0, on_failure=for_ever))
    assert loop.time() - began == pytest.approx(3.0)
    assert isinstance(caught.value.__cause__, TimeoutExpired)


@virtual
async def test_a_pause_that_a_hook_has_made_too_late_is_not_made(bubble: Bubble) -> None:
    """What has been decided before the hook does not outlive the time for everything."""

    async def hook(failure: RetryFailure) -> None:
        await asyncio.sleep(2.5)

    retry = Retry(timeout=3.0, backoff=(1.0, 1.0), jitter=0.0, on_failure=hook)
    with pytest.raises(ConnectError, match="refused") as caught:
        await connect(Peer(failures=9).connector, "", retry=retry)
    assert caught.value.attempts == 1


@virtual
async def test_a_hook_that_waits_for_its_own_connect_is_told(bubble: Bubble) -> None:
    """It would wait for ever."""

    async def hook(failure: RetryFailure) -> None:
        await attempt

    attempt = connect(Peer(failures=9).connector, "", retry=Retry(on_failure=hook))
    with pytest.raises(ConnectError, match="awaited by its own connector"):
        await attempt


@virtual
async def test_a_hook_that_closes_its_own_connect_goes_on(bubble: Bubble) -> None:
    """The close does not wait for the hook, which meets its cancellation where it waits next."""
    told: list[str] = []

    async def hook(failure: RetryFailure) -> None:
        await attempt.aclose()
        told.append("asked")
        await asyncio.sleep(3600)

    attempt = connect(Peer(failures=9).connector, "", retry=Retry(on_failure=hook))
    with pytest.raises(ConnectError, match="it was closed"):
        await attempt
    assert told == ["asked"]
    await some_turns()


@virtual
async def test_each_attempt_has_the_time_of_the_policy(bubble: Bubble) -> None:
    """Where the connect has a longer one of its own, or none."""
    loop = asyncio.get_running_loop()
    for timeout in (None, 9.0):
        began = loop.time()
        with pytest.raises(ConnectError, match="not over within 2 s") as caught:
            await connect(
                Peer(seconds=3600.0).connector,
                "",
                timeout=timeout,
                retry=Retry(attempts=2, attempt_timeout=2.0, backoff=(0.0, 0.0)),
            )
        assert caught.value.attempts == 2
        assert loop.time() - began == pytest.approx(4.0)


@virtual
async def test_the_last_failure_has_its_hook_when_the_time_is_up(bubble: Bubble) -> None:
    """It is told by `on_failure`, for which there is `close_timeout`, and what failed before by a note."""
    told: list[RetryFailure] = []

    async def hook(failure: RetryFailure) -> None:
        await asyncio.sleep(0.1)
        told.append(failure)

    async def connector(stages: Stages) -> None:
        if stages.attempt < 3:
            raise ConnectionRefusedError(f"refused {stages.attempt}")
        await stages.step(asyncio.sleep(3600), name="hello")

    retry = Retry(timeout=3.0, backoff=(0.1, 0.1), on_failure=hook)
    with pytest.raises(ConnectTimeout, match="for all attempts") as caught:
        await connect(connector, retry=retry)
    assert [failure.attempt for failure in told] == [1, 2, 3]
    assert told[2].pause is None
    assert told[2].error is caught.value
    assert caught.value.__notes__ == [
        "before that, attempt 1: ConnectionRefusedError('refused 1'); attempt 2: ConnectionRefusedError('refused 2')"
    ]
