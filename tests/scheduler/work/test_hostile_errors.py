"""Errors and results that break whoever looks at them: the attempt fails at once, says why, and nothing else ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import JobStatus, Scheduler, handler
from lifecycle.scheduler._ground.secrets import Secrets
from lifecycle.scheduler._work.failures import describe, is_final, trace, without_secrets
from lifecycle.scheduler.errors import OutputNotPlain

from ..stores import Address


def nested_groups(depth: int = 900, inside: BaseException | None = None) -> BaseException:
    """Return groups of one group each."""
    error = inside or ValueError("inside")
    for _ in range(depth):
        error = BaseExceptionGroup("nested", [error])
    return error


def tree_of_groups() -> BaseException:
    """Return few groups that have two to the power of forty ways to one error."""
    error: Exception = ValueError("inside")
    for _ in range(40):
        error = ExceptionGroup("both", [error, error])
    return error


def chain(name: str) -> BaseException:
    """Return an error behind twenty thousand others."""
    error = ValueError("last")
    for number in range(20_000):
        other = ValueError(f"{number}")
        setattr(other, name, error)
        error = other
    return error


def circle() -> BaseException:
    """Return two errors, each the cause of the other."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def noted(notes: Any) -> BaseException:
    """Return an error with something else in the place of notes."""
    error = ValueError("noted")
    error.__notes__ = notes
    return error


class Endless(Exception):
    """Asks itself for its text."""

    def __str__(self) -> str:
        return str(self)


class NoText(Exception):
    """Has a number in the place of a text."""

    def __str__(self) -> str:
        return 7  # type: ignore[return-value]


class EvilText(str):
    """A string that cannot be used."""

    def _refuse(self, *_: object) -> Any:
        raise KeyboardInterrupt

    __len__ = __getitem__ = __format__ = isprintable = encode = replace = _refuse


class SaysEvil(Exception):
    """Has such a text."""

    def __str__(self) -> str:
        return EvilText("said")


class Nameless(type):
    """A type that does not tell its name."""

    @property
    def __name__(cls) -> str:
        raise KeyboardInterrupt


class OfNamelessType(Exception, metaclass=Nameless):
    """Of such a type."""


class Classless(Exception):
    """Raises when it is asked what it is, as `isinstance` does."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("of no class")


class Locked(Exception):
    """Gives no attribute, and takes none."""

    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt

    def __setattr__(self, name: str, value: Any) -> None:
        raise KeyboardInterrupt


class Unlike(Exception):
    """Is like nothing, has no hash and no form."""

    def __eq__(self, other: object) -> bool:
        raise KeyboardInterrupt

    def __hash__(self) -> int:
        raise KeyboardInterrupt

    def __repr__(self) -> str:
        raise KeyboardInterrupt


class HoldsItself(ExceptionGroup[Exception]):
    """A group that says it holds itself."""

    @property
    def exceptions(self) -> Any:
        return (self,)


class Unformed:
    """Has no form."""

    def __repr__(self) -> str:
        raise KeyboardInterrupt


ERRORS: dict[str, Callable[[], BaseException]] = {
    "nested groups": nested_groups,
    "nested groups of what is no Exception": lambda: nested_groups(inside=KeyboardInterrupt()),
    "a tree of groups": tree_of_groups,
    "a wide group": lambda: ExceptionGroup("wide", [ValueError(str(number)) for number in range(20_000)]),
    "causes": lambda: chain("__cause__"),
    "contexts": lambda: chain("__context__"),
    "a circle": circle,
    "notes that are none": lambda: noted(7),
    "notes that are no strings": lambda: noted([1, EvilText("x"), Unformed()]),
    "an endless text": Endless,
    "no text": NoText,
    "an evil text": SaysEvil,
    "a huge text": lambda: ValueError("x" * 20_000_000),
    "half a character": lambda: ValueError("\ud800"),
    "no name": OfNamelessType,
    "no class": Classless,
    "locked": Locked,
    "unlike": Unlike,
    "a group that holds itself": lambda: HoldsItself("itself", [ValueError("inside")]),
    "an exit without a form": lambda: SystemExit(Unformed()),
}


def nested_list() -> Any:
    """Return lists in lists."""
    value: Any = []
    for _ in range(10_000):
        value = [value]
    return value


def circular_list() -> Any:
    """Return a list that is in itself."""
    value: list[Any] = []
    value.append(value)
    return value


class EvilTable(dict[str, Any]):
    """A table that cannot be read."""

    def items(self) -> Any:
        raise KeyboardInterrupt


class EndlessList(list[int]):
    """A list without an end."""

    def __iter__(self) -> Any:
        while True:
            yield 1


class EvilPath:
    """A path that has none."""

    def __fspath__(self) -> str:
        raise SystemExit


RESULTS: dict[str, Callable[[], Any]] = {
    "nested": nested_list,
    "circular": circular_list,
    "evil": lambda: EvilTable(a=1),
    "endless": EndlessList,
    "a path": EvilPath,
    "a huge number": lambda: 10**100_000,
}


async def fails_and_the_next_succeeds(work: Any, store: Address | None) -> str:
    """Run a job that has to fail, and one after it; return the error."""
    async with Scheduler(store, workers=1) as scheduler:
        with anyio.fail_after(60):
            job = await scheduler.submit(work)
            outcome = await job.wait()
            record = await scheduler.job(job.id)
            assert (await (await scheduler.submit(well)).wait()).result == 1
    assert outcome.status is JobStatus.FAILED
    assert outcome.error
    assert "neither a result" not in outcome.error
    assert outcome.exception is not None
    if store is not None:
        assert record is not None
        assert record.error == outcome.error
    return outcome.error


@handler("hostile errors.well")
async def well() -> int:
    """Succeed."""
    return 1


@pytest.mark.asyncio
@pytest.mark.parametrize("in_thread", [False, True], ids=["async", "thread"])
@pytest.mark.parametrize("what", ERRORS)
async def test_an_error_that_breaks_whoever_looks_at_it_is_a_failure(
    what: str, in_thread: bool, address: Address | None
) -> None:
    """In the loop and in a thread; what can be said of it is said, in bounded time and length."""

    def raises() -> None:
        raise ERRORS[what]()

    async def raises_in_the_loop() -> None:
        raises()

    work = handler(f"hostile errors.{what}.{in_thread}.{address}")(raises if in_thread else raises_in_the_loop)
    error = await fails_and_the_next_succeeds(work, address)
    assert len(error) <= 2_000


@pytest.mark.asyncio
@pytest.mark.parametrize("what", RESULTS)
async def test_a_result_that_breaks_whoever_looks_at_it_is_a_failure(what: str, durable: Address) -> None:
    """Where it has to be kept."""

    async def returns() -> Any:
        return RESULTS[what]()

    await fails_and_the_next_succeeds(handler(f"hostile results.{what}")(returns), durable)


def test_a_group_is_described_by_what_is_in_it() -> None:
    """Each error once, how deep it may be; beyond the first of them how many more there are."""
    assert describe(nested_groups(3)) == "1 failure: ValueError: inside"
    assert describe(tree_of_groups()) == "1 failure: ValueError: inside"
    inner = ExceptionGroup("inner", [OSError("b"), OSError("c")])
    assert describe(ExceptionGroup("outer", [OSError("a"), inner, OSError("d")])) == (
        "4 failures: OSError: a; OSError: b; OSError: c; OSError: d"
    )
    wide = ExceptionGroup("wide", [ValueError(str(number)) for number in range(60)])
    assert describe(wide).startswith("60 failures: ValueError: 0; ")
    assert describe(wide).endswith("ValueError: 49; and 10 more")
    wider = ExceptionGroup("wide", [ValueError() for _ in range(10_001)])
    assert describe(wider).startswith("at least 10,000 failures: ")


def test_what_is_deep_inside_is_found() -> None:
    """An error that is final is so in any depth."""
    assert is_final(nested_groups(inside=OutputNotPlain("no")))
    assert not is_final(nested_groups())


def test_a_traceback_that_grows_is_not_read_as_a_whole() -> None:
    """One error that is raised again and again keeps what it has met each time; the last frames are kept."""
    error = ValueError("the same")

    def fail() -> None:
        raise error

    for _ in range(1_000):
        with pytest.raises(ValueError, match="the same"):
            fail()
    found = trace(error)
    assert found.count(__file__) == 8
    assert found.endswith("ValueError: the same\n")


def test_a_traceback_has_the_notes_and_the_module() -> None:
    """As Python shows it."""
    error = OutputNotPlain("no")
    error.add_note("but a note")
    assert trace(error) == f"{OutputNotPlain.__module__}.OutputNotPlain: no\nbut a note\n"


@pytest.mark.parametrize("hide", [nested_groups, tree_of_groups, lambda: chain("__cause__")])
def test_what_cannot_be_looked_through_is_taken_for_secret(
    monkeypatch: pytest.MonkeyPatch, hide: Callable[[], BaseException]
) -> None:
    """An error that is too large to be looked at does not leave the attempt."""
    monkeypatch.setitem(os.environ, "OUTCOME_SECRET", "correct horse")
    secrets = Secrets()
    error = hide()
    same = without_secrets(error, secrets) is error  # not in the assertion, which would show such an error
    assert same
    secrets.read("OUTCOME_SECRET")
    same = without_secrets(error, secrets) is error
    assert not same
    small = ValueError("small")
    assert without_secrets(small, secrets) is small


def test_a_secret_is_hidden_before_a_traceback_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even half of it is left where the middle was cut out."""
    monkeypatch.setitem(os.environ, "OUTCOME_SECRET", "correct horse battery staple " * 20)
    secrets = Secrets()
    secrets.read("OUTCOME_SECRET")
    error = ValueError("x" * 1_900 + os.environ["OUTCOME_SECRET"] + "y" * 3_000)
    assert "horse" not in trace(error, secrets.hide)
    assert "horse" in trace(error)


assert sys.getrecursionlimit() < 5_000, "what is nested here is no trial any more"
