"""How work that ran elsewhere has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .._ground.errors import RemoteFailed

SUCCEEDED: Final = "succeeded"
"""The reason of an end that is none of a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteEnd:
    """How work that ran elsewhere has ended.

    Attributes:
        reason: ``succeeded``, or in one or two words why it did not. Each kind of host says which there are; those of
            Kubernetes are on its page.
        message: one line for people.
        exit_code: the process's exit code, None where there is none.
        signal: the name of the signal that ended the process, such as ``SIGKILL``, None for none.
        output: what it returned, plain data.
        details: what else is known: where it ran, since when.
        over: whether it has come to its end by itself. Where it was given up it is stopped before the end is recorded,
            so that what is tried again does not run beside it.
    """

    reason: str
    message: str = ""
    exit_code: int | None = None
    signal: str | None = None
    output: Any = None
    details: Mapping[str, Any] = field(default_factory=dict)
    over: bool = True

    @property
    def succeeded(self) -> bool:
        """Whether it did what it was to do."""
        return self.reason == SUCCEEDED

    def check(self) -> RemoteEnd:
        """Return this end of a success.

        Raises:
            RemoteFailed: it is none.
        """
        if self.succeeded:
            return self
        raise RemoteFailed(
            self.message or self.reason, reason=self.reason, exit_code=self.exit_code, signal=self.signal
        )
