"""Waking: completing what somebody waits for."""

from asyncio import Future


def wake(waiter: Future[None]) -> None:
    """Complete *waiter*, unless it is done; where its loop has been closed, nobody is left to be woken.

    Tasks that such a loop has left behind end when they are collected, and their owners are told all the same.
    """
    if waiter.done():
        return
    try:
        waiter.set_result(None)
    except RuntimeError:
        if not waiter.get_loop().is_closed():
            raise
