"""The interpreter's own tests of ``contextlib.AsyncExitStack``, run on ``Scope``."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

from lifecycle import Scope

from .standard import Exceptions, adopt, borrow, run_here

GROUPED = "several errors come in a group, not as a chain of which the last one is caught (guarantee 6)"
BESIDE = "an error that does not say that it stands for the one before comes beside it (guarantee 6)"
WORDS = "what is no context manager is refused in other words"

EXCEPTIONS: Exceptions = {
    "test_async_exit_exception_chaining": GROUPED,
    "test_exit_exception_chaining": GROUPED,
    "test_exit_exception_with_correct_context": GROUPED,
    "test_exit_exception_with_existing_context": GROUPED,
    "test_async_exit_exception_explicit_none_context": BESIDE,
    "test_exit_exception_explicit_none_context": BESIDE,
    "test_exit_exception_traceback": "the frames between the block and the exit are those of contextlib",
    "test_enter_context_errors": WORDS,
    "test_instance_bypass": WORDS,
    "test_instance_bypass_async": "an exit that cannot be called is refused at once, not when it is needed",
}


class Stack(Scope):
    """A scope, with the list of exits that the tests look for inside of a stack."""

    def __init__(self) -> None:
        super().__init__()
        self._exit_callbacks: list[tuple[bool, Any]] = []

    def __del__(self) -> None:
        """Say nothing when it is dropped, which some of the tests do."""

    def _note(self, thing: Any, method: str) -> None:
        self._exit_callbacks.append((True, getattr(thing, method) if hasattr(type(thing), method) else thing))

    async def enter_async_context(self, cm: Any, **options: Any) -> Any:
        value = await super().enter_async_context(cm, **options)
        self._note(cm, "__aexit__")
        return value

    def enter_context(self, cm: Any, **options: Any) -> Any:
        value = super().enter_context(cm, **options)
        self._note(cm, "__exit__")
        return value

    def push(self, leave: Any, **options: Any) -> Any:
        super().push(leave, **options)
        self._note(leave, "__exit__")
        return leave

    def push_async_exit(self, leave: Any, **options: Any) -> Any:
        super().push_async_exit(leave, **options)
        self._note(leave, "__aexit__")
        return leave

    def callback(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        self._exit_callbacks.append((True, SimpleNamespace(__wrapped__=fn, __name__="wrapper", __doc__=None)))
        return super().callback(fn, *args, **kwargs)

    def push_async_callback(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        self._exit_callbacks.append((False, SimpleNamespace(__wrapped__=fn, __name__="wrapper", __doc__=None)))
        return super().push_async_callback(fn, *args, **kwargs)


class SyncStack(Stack):
    """The same for the tests that an exit stack of either kind has to pass, which are synchronous."""

    def __enter__(self) -> Any:
        return run_here(self.__aenter__)

    def __exit__(self, *details: Any) -> Any:
        return run_here(self.__aexit__, *details)

    def close(self) -> Any:
        return run_here(self.aclose)

    def pop_all(self) -> Any:
        heir: Any = super().pop_all()
        heir.close = partial(run_here, heir.aclose)
        return heir


module = borrow("test.test_contextlib_async")
vars(module).update(AsyncExitStack=Stack, _run_async_fn=run_here)
TestAsyncExitStack = adopt(module.TestAsyncExitStack, EXCEPTIONS, exit_stack=SyncStack)
