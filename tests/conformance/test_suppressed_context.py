"""An error that a context manager has suppressed does not come back as the context of a later one."""

import asyncio
import contextlib
from typing import Any

import pytest

from lifecycle import Scope


@pytest.mark.parametrize("stack_class", [Scope, contextlib.AsyncExitStack])
def test_a_suppressed_error_is_no_context(stack_class: Any) -> None:
    """A release that fails after the body's error was suppressed has nothing to do with it."""

    async def fail() -> None:
        raise KeyError

    async def main() -> BaseException | None:
        with pytest.raises(KeyError) as caught:
            async with stack_class() as stack:
                stack.push_async_callback(fail)
                stack.push(lambda *_: True)
                raise ZeroDivisionError
        return caught.value.__context__

    assert asyncio.run(main()) is None
