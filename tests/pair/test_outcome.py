"""LinkOutcome: each error once and as it was raised, and none that nobody hears of."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import traceback
from collections.abc import Callable

import pytest

from lifecycle import ReaderWorker, link
from lifecycle.testing import Bubble
from lifecycle.types import LinkOutcome, LoopEnd

from ..loops import virtual
from .parts import Wire, fails, forever, returns

Look = Callable[[LinkOutcome], object]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    gc.collect()
    return [record.getMessage() for record in caplog.records]


@virtual
async def test_an_error_that_nobody_asked_for_is_logged(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """Once, with its owner; what only says that the resource was closed is none."""
    await link(forever, fails, name="session")
    (record,) = caplog.records
    assert (record.getMessage(), record.name, vars(record)["owner"]) == (
        "linked loops failed",
        "lifecycle.pair",
        "session",
    )
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)
    caplog.clear()
    wire = Wire()
    await link(wire.read, returns, close=wire.close)
    assert told(caplog) == []
    async with ReaderWorker(fails, forever) as pair:
        await pair.wait()
    assert told(caplog) == ["linked loops failed"]


@pytest.mark.parametrize(
    "look",
    [
        lambda outcome: outcome.errors,
        lambda outcome: outcome.first,
        lambda outcome: outcome.ends,
        lambda outcome: outcome.close_error,
        lambda outcome: outcome.error_of("reader"),
        lambda outcome: outcome.reader_error,
        repr,
    ],
)
@virtual
async def test_who_has_looked_is_not_told(bubble: Bubble, look: Look, caplog: pytest.LogCaptureFixture) -> None:
    """However it was looked; of several who have waited one is enough."""
    look(await link(forever, reader=fails))
    async with ReaderWorker(fails, forever) as pair:
        outcomes = [await pair.wait(), await pair.wait()]
        look(outcomes.pop())
        outcomes.clear()
    assert told(caplog) == []


@virtual
async def test_the_errors_of_an_outcome_can_be_raised(bubble: Bubble) -> None:
    """One as it is, several in a group, none not at all; without what was meant by closing."""
    (await link(forever, returns)).raise_errors()
    with pytest.raises(ValueError, match="broken"):
        (await link(forever, fails)).raise_errors()

    def bad_close() -> None:
        raise KeyError("close")

    with pytest.raises(ExceptionGroup) as caught:
        (await link(forever, fails, close=bad_close)).raise_errors()
    assert [type(error) for error in caught.value.exceptions] == [ValueError, KeyError]
    wire = Wire()
    outcome = await link(wire.read, returns, close=wire.close)
    outcome.raise_errors()
    assert [type(error) for error in outcome.errors] == [OSError]


class Wordless(Exception):
    """Its words are an error, of whatever kind, or do something to the loops."""

    def __init__(self, deed: Callable[[], str]) -> None:
        super().__init__()
        self.deed = deed

    def __repr__(self) -> str:
        return self.deed()

    __str__ = __repr__


def raising(kind: type[BaseException]) -> Callable[[], str]:
    def deed() -> str:
        raise kind

    return deed


@pytest.mark.parametrize("kind", [ValueError, SystemExit, asyncio.CancelledError, GeneratorExit, RecursionError])
@pytest.mark.parametrize("drain_timeout", [0, 60])
@virtual
async def test_an_error_without_words_ends_the_loops_all_the_same(
    bubble: Bubble, kind: type[BaseException], drain_timeout: float
) -> None:
    """Whatever its own words raise: it is raised nowhere, and the others are stopped and joined."""

    async def wordless(*_: object) -> None:
        await asyncio.sleep(0.1)
        raise Wordless(raising(kind))

    async with asyncio.timeout(10):
        outcome = await link(forever, wordless, drain_timeout=drain_timeout)
        assert [end.how for end in outcome.ends] == ["raised", "stopped"]
        with pytest.raises(Wordless):
            outcome.raise_errors()
        async with ReaderWorker(wordless, forever, drain_timeout=drain_timeout) as pair:
            assert isinstance((await pair.wait()).reader_error, Wordless)


@virtual
async def test_the_words_of_an_error_may_stop_what_it_ends(bubble: Bubble) -> None:
    """They are asked before the books are touched."""
    pairs: list[ReaderWorker[object]] = []

    def stop() -> str:
        pairs[0].cancel("by its own error")
        return "stopped"

    async def wordless(*_: object) -> None:
        await asyncio.sleep(0.1)
        raise Wordless(stop)

    async with asyncio.timeout(10):
        async with ReaderWorker(wordless, forever) as pair:
            pairs.append(pair)
            outcome = await pair.wait()
    assert outcome.reason == "by its own error"
    assert {end.name: end.how for end in outcome.ends} == {"reader": "raised", "worker": "stopped"}


@virtual
async def test_an_error_that_loop_and_close_share_is_told_once_and_where_the_loop_met_it(bubble: Bubble) -> None:
    """As asyncio's stream reader and ``wait_closed`` do: they raise one object."""
    broken = asyncio.get_running_loop().create_future()

    async def read_exactly() -> None:
        await broken

    async def wait_closed() -> None:
        await asyncio.sleep(0)
        await broken

    asyncio.get_running_loop().call_later(0.1, broken.set_exception, ConnectionResetError("gone"))
    outcome = await link(read_exactly, forever, close=wait_closed)
    assert [type(error) for error in outcome.errors] == [ConnectionResetError]
    assert outcome.close_error is None
    frames = [frame.name for frame in traceback.extract_tb(outcome.errors[0].__traceback__)]
    assert frames[0] == "read_exactly"
    assert "wait_closed" not in frames

    async def both() -> None:
        await broken

    outcome = await link(both, both)
    assert len(outcome.errors) == 1


def test_an_outcome_can_be_copied_and_pickled(caplog: pytest.LogCaptureFixture) -> None:
    """The copy is equal, and nobody is told twice."""

    async def main() -> LinkOutcome:
        return await link(forever, fails)

    outcome = asyncio.run(main())
    again = pickle.loads(pickle.dumps(outcome))
    assert isinstance(again.errors[0], ValueError)
    assert copy.copy(outcome) == outcome
    assert outcome == LinkOutcome(outcome.first, outcome.reason, outcome.ends)
    del outcome, again
    assert told(caplog) == []


# Names, arguments, and members that may end


@virtual
async def test_linked_loops_may_have_names_and_arguments(bubble: Bubble) -> None:
    """A keyword is a name; a tuple is a function with its arguments; one without a name has that of its function."""
    seen: list[object] = []

    async def pump(*args: object) -> None:
        seen.append(args)
        await forever()

    outcome = await link((pump, 1, 2), pump, returns, back=(pump, 3), pump=pump)
    assert [end.name for end in outcome.ends] == ["returns", "pump 2", "pump 3", "back", "pump"]
    assert seen == [(1, 2), (), (3,), ()]
    assert outcome.error_of("back") is None
    assert outcome.reader_error is None
    with pytest.raises(ValueError, match=r"no loop is called 'bakc'; they are returns, pump 2, pump 3, back, pump"):
        outcome.error_of("bakc")


@virtual
async def test_a_loop_that_is_no_async_function_is_refused_wherever_it_stands(bubble: Bubble) -> None:
    """Before any loop has begun."""
    for wrong in ((3, 4), (), (print, "x")):
        with pytest.raises(TypeError):
            await link(forever, wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await link(forever, back=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"may_end names 'typo', but the loops are forever, beat"):
        await link(forever, beat=forever, may_end="typo")
    with pytest.raises(TypeError, match="abort"):
        await link(forever, close=print, abort=forever)
    with pytest.raises(ValueError, match="give close as well"):
        await link(forever, abort=print)


@virtual
async def test_a_member_that_may_end_does_not_end_the_rest(bubble: Bubble) -> None:
    """When it returns; when it fails it does; and the last to end has ended all."""

    async def longer() -> None:
        await asyncio.sleep(1)

    outcome = await link(returns, longer, forever, may_end=["returns"])
    assert outcome.first == LoopEnd("longer", "returned")
    assert [str(end) for end in outcome.ends] == ["returns returned", "longer returned", "forever stopped"]
    assert outcome.reason == "longer returned"
    outcome = await link(fails, longer, may_end="fails")
    assert [end.how for end in outcome.ends] == ["raised", "stopped"]
    outcome = await link(returns, longer, may_end=["returns", "longer"])
    assert outcome.first == LoopEnd("longer", "returned")
    assert [end.how for end in outcome.ends] == ["returned", "returned"]


# A close that takes too long


@virtual
async def test_what_a_close_does_not_end_in_time_is_cut(bubble: Bubble) -> None:
    """Once, when its time is over and before it is cancelled; not where it is in time."""
    cut: list[float] = []
    clock = asyncio.get_running_loop()

    async def close() -> None:
        await forever()

    outcome = await link(returns, forever, close=close, abort=lambda: cut.append(clock.time()), close_timeout=3)
    assert cut == [pytest.approx(3.1)]
    assert "was cancelled" in str(outcome.close_error)
    async with ReaderWorker(returns, forever, close=returns, abort=lambda: cut.append(0.0)) as pair:
        await pair.wait()
    assert len(cut) == 1


@virtual
async def test_an_abort_that_fails_changes_nothing(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the closing cancelled all the same."""

    async def close() -> None:
        await forever()

    def abort() -> None:
        raise KeyError("abort")

    outcome = await link(returns, forever, close=close, abort=abort, close_timeout=1)
    assert "was cancelled" in str(outcome.close_error)
    assert told(caplog) == ["abort failed"]
