"""Making a Job exactly once, whatever becomes of the answers: by its name, which the cluster gives but once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import anyio

from lifecycle import Retry

from .._ground.errors import RemoteFailed
from .._ground.text import one_line, shorten
from ..remote import Say, Ticket
from . import _ends
from ._client import Client, ClientStale, NotConnected
from ._credentials import NoCredentials
from ._faults import CONFLICT, FORBIDDEN, ApiError, worth_another_try
from ._ownership import LOOKS, check_answer, find_job, is_being_deleted, job_path, take_over

PATIENCE: Final = 120.0
"""Seconds for which a server that is not there, or has no time, is asked again for one and the same thing."""

_PAUSES: Final = Retry(backoff=(0.2, 15.0))
_QUOTA_PAUSES: Final = Retry(backoff=(2.0, 60.0))


class Creating:
    """Makes the Job of a ticket.

    Args:
        client: of the cluster.
        ticket: says which Job it is.
        namespace: where it goes.
        manifest: the Job.
        bound: seconds for which a quota that is used up is waited for.
        say: gets lines for the job's log.
        sent: whether somebody before may have.

    Attributes:
        sent: whether a request may have reached the server, so that there may be a Job.
    """

    def __init__(
        self,
        client: Client,
        ticket: Ticket,
        namespace: str,
        manifest: Mapping[str, Any],
        bound: float,
        say: Say,
        *,
        sent: bool = False,
    ) -> None:
        self._client = client
        self._ticket = ticket
        self._namespace = namespace
        self._manifest = manifest
        self._bound = bound
        self._say = say
        self.sent = sent

    async def make(self) -> None:
        """Make the Job, or take over the one that is there by this name.

        Cancellation: it may be there or not.

        Raises:
            RemoteFailed: it is refused, or the server was never reached: there is none.
            RemoteLost: a later attempt has it.
            OSError: the server is not to be reached any more; there may be one.
        """
        began, tries = anyio.current_time(), 0
        while True:
            try:
                if await self._once():
                    return
            except ApiError as error:
                if self.sent and await self._is_there():  # a full quota, too, refuses what is there already
                    return
                if not self._may_wait(error, anyio.current_time() - began):
                    if self.sent and await self._comes_late():
                        return
                    raise self._refused(error) from error
                pauses = _QUOTA_PAUSES if _is_quota(error) else _PAUSES
                after = error.retry_after
            except ClientStale:
                raise
            except OSError as error:
                self.sent = self.sent or not isinstance(error, (NotConnected, NoCredentials))
                if not worth_another_try(error) or anyio.current_time() - began >= PATIENCE:
                    if self.sent or isinstance(error, NoCredentials):
                        raise
                    raise RemoteFailed(one_line(shorten(str(error), 600)), reason=_ends.UNREACHABLE) from error
                pauses, after = _PAUSES, None
            else:  # the name is taken by one that is on its way out
                pauses, after = _PAUSES, None
                if anyio.current_time() - began >= self._bound:
                    said = f"Job {self._ticket.name} is being deleted, and does not go"
                    raise RemoteFailed(said, reason=_ends.REFUSED)
            tries += 1
            await anyio.sleep(max(pauses.pause(tries), after or 0.0))

    async def _once(self) -> bool:
        """Ask for it once; return whether it is there, False while the name is not free yet."""
        path, strict = job_path(self._namespace), {"fieldValidation": "Strict"}
        try:
            answer = await self._client.request("POST", path, query=strict, body=self._manifest)
            check_answer(answer, self._namespace, self._ticket.name)
            return True
        except ApiError as error:
            if error.status != CONFLICT or error.reason != "AlreadyExists":
                raise
        return await self._is_there()

    async def _is_there(self) -> bool:
        """Return whether it is there: if an answer was lost, or an attempt was cut off after it had asked."""
        job = await find_job(self._client, self._namespace, self._ticket.name, patience=PATIENCE)
        if job is None or is_being_deleted(job):
            return False
        return await take_over(self._client, job, self._ticket, patience=PATIENCE)

    async def _comes_late(self) -> bool:
        """Return whether an earlier request, of which no answer came, makes it now: nobody would own it."""
        for pause in LOOKS:
            await anyio.sleep(pause)
            if await self._is_there():
                return True
        return False

    def _may_wait(self, error: ApiError, seconds: float) -> bool:
        if _is_quota(error):
            if seconds >= self._bound:
                return False
            self._say(f"waits: {one_line(shorten(str(error), 400))}")
            return True
        if error.status >= 500:
            self.sent = True
        passing = bool(worth_another_try(error)) or (error.status == CONFLICT and error.reason != "AlreadyExists")
        return passing and seconds < PATIENCE

    def _refused(self, error: ApiError) -> Exception:
        if error.status >= 500:
            return ConnectionError(str(error))
        return RemoteFailed(one_line(shorten(str(error), 600)), reason=_ends.REFUSED)


def _is_quota(error: ApiError) -> bool:
    """Return whether a quota is used up: others that end make room. Anything else that is forbidden stays so."""
    return error.status == FORBIDDEN and "exceeded quota" in str(error)
