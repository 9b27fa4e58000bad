"""Annotations that name what only a type checker imports: nothing that takes a function is disturbed by them.

Since Python 3.14 they are evaluated when somebody asks for them. So there is no ``from __future__`` here.
"""

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest

import lifecycle
from lifecycle.scheduler._work.handlers import make_handler

if TYPE_CHECKING:
    from decimal import Decimal

if sys.version_info < (3, 14):
    pytest.skip("annotations are evaluated at once before 3.14", allow_module_level=True)


async def price(base: Decimal | None = None) -> Decimal | None:
    """Return what it is given."""
    return base


async def price_of(base: Decimal, /, *, context: Decimal) -> Decimal | None:
    """Need arguments."""


def ignore(_: Decimal) -> None:
    """Release a value."""


class Shop:
    """Has asynchronous functions of other kinds."""

    async def price(self, base: Decimal | None = None) -> Decimal | None:
        """Return what it is given."""
        return base

    async def __call__(self, base: Decimal | None = None) -> Decimal | None:
        """Return what it is given."""
        return base


@functools.wraps(price)
async def decorated(*args: Decimal) -> Decimal | None:
    """Go on to another function."""
    return await price(*args)


async def prices() -> AsyncIterator[Decimal | None]:
    """Yield once."""
    yield None


FUNCTIONS = [price, Shop().price, Shop(), decorated, functools.partial(price, None)]
each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: type(function).__name__)


def test_what_is_annotated_here_cannot_be_evaluated() -> None:
    """Or the tests would show nothing."""
    with pytest.raises(NameError):
        _ = price.__annotations__


@each_function
@pytest.mark.parametrize(
    "make",
    [
        lambda function: lifecycle.fixed_rate(function, 1),
        lambda function: lifecycle.fixed_delay(function, 1),
        lambda function: lifecycle.cron(function, "0 4 * * *", timezone="UTC"),
        lambda function: lifecycle.once(function, 1),
    ],
    ids=["fixed_rate", "fixed_delay", "cron", "once"],
)
def test_a_timer_takes_the_function(make: Callable[[Any], Any], function: Any) -> None:
    """It asks for the signature, of which it needs the parameters only."""
    make(function)


def test_a_timer_refuses_a_function_that_needs_arguments() -> None:
    """Whatever their types are."""
    with pytest.raises(TypeError, match=r"price_of\(base: 'Decimal', /, \*, context: 'Decimal'\) needs some"):
        lifecycle.fixed_rate(price_of, 1)  # type: ignore[arg-type]


@each_function
def test_a_handler_is_described(function: Any) -> None:
    """By its parameters, without their types."""
    handler = make_handler(function)
    assert handler.is_async
    assert handler.problem([], {}) is None
    assert "unexpected" in str(handler.problem([], {"amount": 1}))


def test_a_handler_is_given_its_context() -> None:
    """It is known by its name alone."""
    handler = make_handler(price_of)
    assert handler.wants_context
    assert handler.problem(["1.5"], {}) is None
    assert "missing a required argument" in str(handler.problem([], {}))


def test_a_handler_whose_annotations_only_fail_has_no_signature() -> None:
    """It can be called all the same."""

    async def odd(base: "Decimal" | None) -> None:  # type: ignore[operator]
        """Neither the type nor its text can be had of a text and None."""

    assert make_handler(odd).parameters is None
    lifecycle.fixed_rate(odd, 1)  # type: ignore[arg-type]


@each_function
def test_owners_run_the_function(function: Any) -> None:
    """None of them asks for a signature."""

    async def main() -> None:
        async with lifecycle.TaskGroup() as group, lifecycle.TaskManager() as manager, lifecycle.Scope() as scope:
            group.start_soon(function)
            manager.start_soon(function)
            scope.start_soon(function)
            assert await scope.acquire(function, release=ignore) is None
            async with lifecycle.Pool(function, ignore, max_size=1) as pool, pool.acquire() as value:
                assert value is None
            async with lifecycle.Registry[str, None]() as registry:
                assert await registry.get_or_create("key", function) is None
        assert await lifecycle.race(function) is None

    asyncio.run(main())


def test_decorators_take_the_function() -> None:
    """They copy what describes it, and evaluate nothing."""
    for decorate in (lifecycle.background, lifecycle.cached(max_size=1)):
        assert decorate(price).__name__ == "price"  # type: ignore[operator]
    assert lifecycle.resource(prices).__name__ == "prices"
