"""Starting tasks in a manager that has bounds for each key, or in a time: what `start_soon` and `spawn` do there."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from typing import Any, cast

from .._ground import kernel
from .._ground.calls import coroutine_of, name_of
from .._limits.quotas import UNSAID, Quotas
from .._task.handle import TaskHandle
from .books import OPEN, TaskBooks


def start_keyed(
    manager: TaskBooks,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    name: str | None,
    context: Context | None,
    *,
    key: Hashable = UNSAID,
    key_args: tuple[Any, ...] | None = None,
) -> TaskHandle[Any]:
    """Do what ``start_soon`` does: start a task that can have all that it needs, or put it in line.

    Args:
        manager: whose task it is.
        fn: what it runs.
        args: the arguments of that.
        name: of the task.
        context: what it runs in.
        key: whose bounds count, where the key is not made of arguments.
        key_args: what the key is made of, where that is not *args*.
    """
    label = name or name_of(fn)
    manager._check_open(label)
    quotas = cast("Quotas", manager._quotas)
    manager._come_in()
    share = quotas.share_for(manager, args if key_args is None else key_args, key)
    turns = quotas.turns
    kept = turns.keep(share)
    share.claimed += 1
    try:
        if not kept and manager._pending_limit is not None and turns.waiting >= manager._pending_limit:
            manager._refuse_one_more(label)
        coro = coroutine_of(fn, args)
    except BaseException:
        share.claimed -= 1
        if kept:
            turns.release(share)
        else:
            turns.drop(share)
        raise
    share.claimed -= 1
    handle = TaskHandle(manager, coro, name or name_of(coro))
    manager._accepted += 1
    if kept or turns.keep(share):  # which something may have left while fn made its coroutine
        quotas.assign(handle, share)
        manager._launch(handle, context)
    else:
        quotas.line_up(handle, share, manager._context_for(context))
        if manager._hooks:
            manager._hooks.call("queued", handle)
    return handle


def create_keyed(
    manager: TaskBooks, coro: Coroutine[Any, Any, Any], name: str, context: Context | None, key: Hashable
) -> TaskHandle[Any]:
    """Do what ``create_task`` does, with the key that it was given.

    Raises:
        TypeError: there are no bounds by key, or there is no key.
    """
    if manager._quotas is None:
        raise TypeError(f"{manager} has no limit_by, so that a limit_key means nothing to it")
    manager._quotas.check_key(manager, key)
    return start_keyed(manager, lambda: coro, (), name, context, key=key)


async def spawn_keyed(
    manager: TaskBooks, fn: Callable[..., Any], args: tuple[Any, ...], name: str | None, context: Context | None
) -> TaskHandle[Any]:
    """Do what ``spawn`` does: wait until the task can have all that it needs, and start it.

    Cancellation: leaves the line.
    """
    label = name or name_of(fn)
    manager._check_open(label)
    quotas = cast("Quotas", manager._quotas)
    manager._come_in()
    share = quotas.share_for(manager, args)
    turns = quotas.turns
    if not turns.keep(share):
        await turns.wait(share, kernel.FOREVER, manager)
    try:
        if manager._state is not OPEN:
            manager._reject(label)
        handle = TaskHandle(manager, coroutine_of(fn, args), label)
    except BaseException:
        turns.release(share)
        raise
    manager._accepted += 1
    quotas.assign(handle, share)
    manager._launch(handle, context)
    return handle
