"""Errors of users whose own methods raise: no connect, and no call that is tried again, hangs or loses its caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lifecycle import ConnectError, Retry, Stages, connect
from lifecycle.testing import Bubble

from ..loops import virtual


def no(*_: object, **__: object) -> Any:
    """Refuse everything."""
    raise ZeroDivisionError("hostile")


class StrangeClass(type(Exception)):
    """A class that cannot be asked."""

    __instancecheck__ = no
    __subclasscheck__ = no


class Strange(Exception, metaclass=StrangeClass):
    """An error of such a class."""


class Silent(Exception):
    """An error without words, equality and attributes."""

    __repr__ = __str__ = __eq__ = __hash__ = __setattr__ = no  # type: ignore[assignment]


class Grouped(ExceptionGroup[Exception]):
    """A group that cannot be taken apart."""

    derive = split = subgroup = no
    __repr__ = __str__ = no  # type: ignore[assignment]


ERRORS: dict[str, Callable[[], Exception]] = {
    "strange": lambda: Strange("strange"),
    "silent": Silent,
    "grouped": lambda: Grouped("several", [OSError(), Silent()]),
    "a group of the strange": lambda: ExceptionGroup("several", [OSError(), Strange()]),
}

RETRIES: dict[str, Retry | None] = {
    "none": None,
    "default": Retry(attempts=3, backoff=(0.0, 0.0)),
    "all": Retry(attempts=3, backoff=(0.0, 0.0), retry_on=lambda _: True),
    "strange": Retry(attempts=3, backoff=(0.0, 0.0), retry_on=(Strange, OSError)),
    "told": Retry(attempts=3, backoff=(0.0, 0.0), on_failure=lambda failure: None, retry_on=Exception),
}


async def by_connect(retry: Retry | None, fails: Callable[[], Awaitable[None]]) -> None:
    """Fail in a stage."""

    async def connector(stages: Stages) -> None:
        await stages.step(fails(), name="login")

    await connect(connector, retry=retry, timeout=5.0)


async def by_call(retry: Retry | None, fails: Callable[[], Awaitable[None]]) -> None:
    """Fail in a call."""
    await (retry or Retry(attempts=1)).call(fails)


@pytest.mark.parametrize("way", [by_connect, by_call])
@pytest.mark.parametrize("retry", RETRIES.values(), ids=RETRIES)
@pytest.mark.parametrize("make", ERRORS.values(), ids=ERRORS)
@virtual
async def test_the_caller_is_told(
    bubble: Bubble,
    make: Callable[[], Exception],
    retry: Retry | None,
    way: Callable[[Retry | None, Callable[[], Awaitable[None]]], Awaitable[None]],
) -> None:
    """By an error, and at once: the class that was asked may have raised it."""

    async def fails() -> None:
        raise make()

    told: Exception | None = None
    try:
        await way(retry, fails)
    except Exception as error:
        told = error
    assert told is not None
    if way is by_connect:
        assert type(told) is ConnectError
