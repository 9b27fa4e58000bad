"""Home: the event loop that an owner's things live in, and the context that its own work runs in."""

from __future__ import annotations

import warnings
from asyncio import AbstractEventLoop
from contextvars import copy_context
from typing import Protocol

from . import kernel
from .errors import WrongLoop
from .logs import OwnerLog


class Tenant(Protocol):
    """An owner as far as its home knows it."""

    def _has_belongings(self) -> bool:
        """Whether anything of it lives in a loop: values, tasks, those who wait."""

    def _leave_loop(self) -> list[str]:
        """Forget everything that lived in a loop that is closed; name the values that are lost by that."""


class Home:
    """Where one owner lives: a loop at a time, and one context for good.

    What belongs to the owner runs in copies of its context, which is the one that the owner was made in: not in the
    context of whoever happened to be there when the work came up, whose variables would be read, and kept alive.

    Attributes:
        context: for the owner's own work.
        loop: the loop that its things live in; None before there was one.
    """

    __slots__ = ("context", "loop")

    def __init__(self) -> None:
        self.context = copy_context()
        self.loop: AbstractEventLoop | None = None

    def move_in(self, tenant: Tenant, name: str, logger: OwnerLog) -> bool:
        """Note that the running loop is the one from now on; return whether an old one is gone, with all in it.

        What lived in a loop that is closed cannot be ended: sockets of it refuse to be closed, futures to be awaited.
        It is dropped, and named in the log and in a ResourceWarning.

        Raises:
            WrongLoop: something lives in another loop that is not closed.
        """
        loop, old = kernel.running_loop(), self.loop
        if old is loop:
            return False
        if old is not None and not old.is_closed() and tenant._has_belongings():
            raise WrongLoop(
                f"{name} belongs to another event loop, {old!r}, which is not closed, and was used in {loop!r}; close "
                f"{name} there, close that loop, or make one for each loop"
            )
        self.loop = loop
        if old is None or not old.is_closed():
            return False
        lost = tenant._leave_loop()
        if lost:
            logger.warning("values of a closed loop dropped", extra={"owner": name, "values": lost})
            warnings.warn(
                f"{name} was used in a new event loop and has dropped what it had in one that is closed: "
                f"{', '.join(lost)}; close it before its loop ends, with `await {name.split()[0]}.aclose()`",
                ResourceWarning,
                stacklevel=4,
            )
        return True
