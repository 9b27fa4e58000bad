"""Handlers: registering, describing and finding them."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import pytest

from lifecycle.scheduler import Context, Scheduler, handler
from lifecycle.scheduler._work.handlers import HandlerTable, collecting, is_async, make_handler
from lifecycle.scheduler._work.loading import load_handlers

from ..tools import problems_of


async def plain_async(x: int) -> int:
    """An async function."""
    return x


class Callable:
    """An object with an async call."""

    async def __call__(self, x: int) -> int:
        """Return x."""
        return x


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (plain_async, True),
        (functools.partial(plain_async, 1), True),
        (functools.partial(functools.partial(plain_async)), True),
        (Callable(), True),
        (len, False),
        (lambda: None, False),
        (functools.partial(print), False),
        (Callable, False),
    ],
)
def test_async_callables_are_told_from_sync_ones(function: Any, expected: bool) -> None:
    """Partials and objects with an async __call__ run in the loop like async functions."""
    assert is_async(function) is expected


def test_a_registered_name_can_be_another_callables_only_in_another_table() -> None:
    """A second callable under one name is refused, the same one again is not."""
    table = HandlerTable()
    with collecting(table):
        handler("same")(plain_async)
        handler("same")(plain_async)
        with pytest.raises(ValueError, match="the handler name 'same' is already taken by"):
            handler("same")(Callable.__call__)
    assert list(table) == ["same"]


@pytest.mark.parametrize(("name", "error"), [("", ValueError), ("  ", ValueError), (None, TypeError), (3, TypeError)])
def test_a_name_must_be_a_name(name: Any, error: type[Exception]) -> None:
    """An empty name, or none, is refused when the decorator is made."""
    with pytest.raises(error, match="a handler's name"):
        handler(name)


def test_what_is_marked_must_be_callable() -> None:
    """And is refused before it is registered."""
    with pytest.raises(TypeError, match="'number' must be callable"):
        handler("number")(3)  # type: ignore[type-var]


def test_a_handler_without_a_signature_takes_anything() -> None:
    """Some builtins have no signature; they are called as they are told."""
    assert make_handler(dict.fromkeys).problem([[1], 2], {}) is None
    assert make_handler(min).problem([1, 2], {}) is None


def test_context_is_not_an_argument_of_the_flow() -> None:
    """The parameter called context is filled in by the scheduler."""

    def wants(x: int, context: object) -> None:
        pass

    described = make_handler(wants)
    assert described.wants_context
    assert described.problem([1], {}) is None
    assert described.problem([], {}) is not None


def test_annotations_that_cannot_be_resolved_do_not_matter() -> None:
    """A handler with a name under TYPE_CHECKING can be used; its arguments are then not checked for types."""

    def odd(x: NoSuchName) -> None:  # type: ignore[name-defined]  # noqa: F821
        pass

    assert make_handler(odd).problem(["anything"], {}) is None


def test_a_module_that_was_imported_before_is_found_by_its_dotted_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handlers of a dotted module are those that it holds, however often it was imported."""
    (tmp_path / "my_handlers_module.py").write_text(
        "from lifecycle.scheduler import handler\n@handler('dotted.f')\nasync def f(): return 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        for _ in range(2):
            assert list(load_handlers("my_handlers_module", tmp_path)) == ["dotted.f"]
    finally:
        sys.modules.pop("my_handlers_module", None)


async def context_first(context: Context, tag: str) -> str:
    """Take the context where a positional argument would go."""
    return tag


async def context_last(tag: str, context: Context) -> str:
    """Take it behind them."""
    return tag


async def context_alone(tag: str, *, context: Context) -> str:
    """Take it by name alone."""
    return tag


async def context_by_position(tag: str, context: Context, /) -> str:
    """Take it in a way that the scheduler cannot give it."""
    return tag


def test_arguments_are_checked_as_the_handler_will_be_called() -> None:
    """With the context, which is given by name."""
    for function in (context_last, context_alone):
        described = make_handler(function)
        assert described.problem(["x"], {}) is None
        assert described.problem_of_values(("x",)) is None
        assert described.problem([], {"tag": "x"}) is None
        assert "missing a required argument: 'tag'" in str(described.problem([], {}))
    assert make_handler(context_first).problem([], {"tag": "x"}) is None
    for wrong in (context_first, context_by_position):
        described = make_handler(wrong)
        for problem in (described.problem(["x"], {}), described.problem_of_values(("x",))):
            assert "its parameter 'context', which the scheduler gives by name, has to stand behind" in str(problem)


@pytest.mark.asyncio
async def test_what_cannot_be_called_is_refused_before_anything_runs() -> None:
    """By the validation of a flow, and by submit."""
    assert "has to stand behind" in "".join(
        problems_of('[blocks.a]\ncall = "first"\nargs = ["x"]', first=context_first)
    )
    async with Scheduler() as scheduler:
        with pytest.raises(ValueError, match="has to stand behind"):
            await scheduler.submit(context_first, "x")
