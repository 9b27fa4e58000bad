"""Starting tasks in a group that has bounds for each key, or in a time."""

from __future__ import annotations

from asyncio import Task
from collections.abc import Callable, Coroutine, Hashable, Mapping
from contextvars import Context
from typing import Any, Final, TypeVar

from .._ground.calls import coroutine_of, name_of
from .._task.handle import TaskHandle
from .members import Members, MembersOwner

T = TypeVar("T")

#: Why such a group takes no task in the shortest way.
KEYED: Final = "has bounds by key, or in a time"


def start_keyed(
    members: Members, fn: Callable[..., Any], args: tuple[Any, ...], name: str | None, key_args: tuple[Any, ...]
) -> TaskHandle[Any]:
    """Start ``fn(*args)`` when its key, made of *key_args*, lets it, and return its handle."""
    owner, quotas = members._owner, members._quotas
    assert quotas is not None
    share = quotas.share_for(owner, key_args)
    share.claimed += 1
    try:
        coro = coroutine_of(fn, args)
        refuse_if_ending(owner, coro, name)
        share.claimed -= 1
    except BaseException:
        share.claimed -= 1
        quotas.turns.drop(share)
        raise
    return members.add_handle(coro, name or name_of(coro), share=share)


def create_keyed(
    members: Members,
    coro: Coroutine[Any, Any, T],
    name: str | None,
    context: Context | None,
    options: Mapping[str, Any],
    key: Hashable,
) -> Task[T]:
    """Return a native task that runs *coro* when *key* lets it.

    Raises:
        TypeError: there is no key, or there are no bounds by key; *coro* has been closed.
    """
    owner, quotas = members._owner, members._quotas
    try:
        if quotas is None:
            raise TypeError(f"{owner} has no limit_by, so that a limit_key means nothing to it")
        quotas.check_key(owner, key)
        share = quotas.share_for(owner, (), key)
        refuse_if_ending(owner, coro, name)
    except BaseException:
        coro.close()
        raise
    return members.add_task(coro, name, context, options, share)


def refuse_if_ending(owner: MembersOwner, coro: Coroutine[Any, Any, Any], name: str | None) -> None:
    """Close and refuse *coro* where the function that made it, or its key, has ended the group: nobody would cancel it.

    Raises:
        OwnerClosed: that is so.
    """
    if owner._ending is not None:
        coro.close()
        owner._refuse(name or name_of(coro))
