"""@cached on methods, and the keys of calls."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import pickle
import weakref
from dataclasses import dataclass
from typing import Any

import pytest

from lifecycle import cached
from lifecycle.testing import Bubble
from lifecycle.types import CachedMethod

from ..loops import virtual


@dataclass
class Account:
    """Equal to others of its name, and not hashable."""

    name: str
    runs: int = 0

    @cached(ttl=100.0)
    async def ask(self, question: str, times: int = 1) -> str:
        """Answer."""
        await asyncio.sleep(1)
        self.runs += 1
        return f"{self.name}: {question * times}"

    @cached(key=lambda self, question: (self.name, question))
    async def share(self, question: str) -> int:
        self.runs += 1
        return self.runs

    @staticmethod
    @cached()
    async def inner(question: str) -> str:
        return question

    @cached()
    @staticmethod
    async def outer(question: str) -> str:
        return question

    @classmethod
    @cached()
    async def of_class(cls, question: str) -> str:
        return f"{cls.__name__}: {question}"


@virtual
async def test_instances_are_told_by_identity(bubble: Bubble) -> None:
    """Equal ones do not share; each has its own calls."""
    one, other = Account("a"), Account("a")
    assert await asyncio.gather(one.ask("x"), one.ask("x"), other.ask("x")) == ["a: x"] * 3
    assert (one.runs, other.runs) == (1, 1)
    assert one.ask.statistics().live == 1
    assert one.ask.discard(question="x")
    assert not one.ask.discard("x")
    await one.ask("x", 1)
    await other.ask("x")
    assert (one.runs, other.runs) == (2, 1)
    await one.ask.clear()
    assert one.ask.registry.statistics().live == 0
    assert other.ask.statistics().live == 1
    for account in (one, other):
        await account.ask.aclose()


@virtual
async def test_it_looks_like_a_method(bubble: Bubble) -> None:
    """To those who look for its name, its signature, or its kind."""
    one, other = Account("a"), Account("a")
    method: Any = one.ask
    assert isinstance(method, CachedMethod)
    assert (method.__name__, method.__doc__, method.__self__, method.__func__) == ("ask", "Answer.", one, Account.ask)
    assert list(inspect.signature(method).parameters) == ["question", "times"]
    assert list(inspect.signature(Account.ask).parameters) == ["self", "question", "times"]
    assert method == one.ask
    assert hash(method) == hash(one.ask)
    assert method != other.ask
    assert "Account.ask" in repr(method)
    for function in (method, Account.ask, Account.inner, one.outer):
        assert inspect.iscoroutinefunction(function)


@virtual
async def test_results_go_with_their_instance(bubble: Bubble) -> None:
    """Whatever time they would have had; and whoever is at its old address has none of them."""
    account = Account("a")
    await account.ask("x")
    results = weakref.ref(account.ask.registry)
    gone = weakref.ref(account)
    del account
    gc.collect()
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None
    assert not Account.ask._of_instances
    assert results() is None


@virtual
async def test_a_result_may_refer_to_its_instance_while_it_is_made(bubble: Bubble) -> None:
    """A call keeps the instance to its end."""
    answer = asyncio.ensure_future(Account("a").ask("x"))
    await asyncio.sleep(0.5)
    gc.collect()
    assert await answer == "a: x"


@virtual
async def test_a_key_function_makes_results_common(bubble: Bubble) -> None:
    """It gets the instance first."""
    one, other = Account("a"), Account("a")
    assert await one.share("x") == await other.share("x") == 1
    assert other.share.discard("x")
    assert await other.share("x") == 1
    await Account.share.aclose()


@virtual
async def test_the_other_kinds_of_methods(bubble: Bubble) -> None:
    """Static ones and those of the class, in either order where there is one."""
    account = Account("a")
    assert await account.inner("x") == await Account.inner("x") == await account.outer("x") == "x"
    assert await Account.outer("x") == "x"
    assert await account.of_class("x") == await Account.of_class("x") == "Account: x"
    for function in (Account.inner, Account.outer, Account.of_class):
        assert function.statistics().live == 1
        await function.aclose()


@virtual
async def test_instances_can_be_copied_and_pickled(bubble: Bubble) -> None:
    """What is kept of them is not in them."""
    account = Account("a")
    await account.ask("x")
    assert copy.deepcopy(account) == pickle.loads(pickle.dumps(account)) == account
    await account.ask.aclose()


@virtual
async def test_a_class_without_weak_references_is_refused(bubble: Bubble) -> None:
    """The error says what to do."""

    class Slotted:
        __slots__ = ()

        @cached()
        async def ask(self) -> int:
            return 1

    with pytest.raises(TypeError, match="__weakref__"):
        await Slotted().ask()


# Keys of calls


@virtual
async def test_spellings_of_a_call_share_a_result(bubble: Bubble) -> None:
    """By position, by keyword, or left out; `discard` knows all of them."""
    calls: list[Any] = []

    @cached()
    async def function(x: str, y: int = 0, *, z: int = 1) -> int:
        calls.append((x, y, z))
        return len(calls)

    for _ in range(2):
        assert await function("a") == await function(x="a") == await function("a", 0) == await function("a", y=0, z=1)
    assert await function(y=0, x="a") == 1
    assert await function("a", z=2) == 2
    assert function.discard(x="a")
    assert await function("a", z=1) == 3
    for wrong in (function(), function("a", 1, 2), function("a", w=1)):  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="argument"):
            await wrong
    await function.aclose()


@virtual
async def test_more_arguments_than_have_names(bubble: Bubble) -> None:
    """They are told apart by place and name."""
    calls: list[Any] = []

    @cached()
    async def function(x: int, *rest: int, **named: int) -> int:
        calls.append((x, rest, named))
        return len(calls)

    assert await function(1, 2, 3, a=4, b=5) == await function(1, 2, 3, b=5, a=4) == 1
    assert await function(1, 2, a=4, b=5) == 2
    assert await function(x=1) == await function(1) == 3
    await function.aclose()


@pytest.mark.parametrize(("typed", "runs"), [(False, 1), (True, 3)])
@virtual
async def test_types_make_keys_where_asked(bubble: Bubble, typed: bool, runs: int) -> None:
    """1, 1.0 and True are equal."""
    calls: list[Any] = []

    @cached(typed=typed)
    async def function(x: float, *, more: float = 0) -> None:
        calls.append(x)

    for argument in (1, 1.0, True, 1):
        await function(argument, more=argument)
    assert len(calls) == runs
    await function.aclose()
