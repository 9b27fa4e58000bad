"""Errors of the scheduler: a flow that is not right, a store that cannot be used, a job that did not succeed."""

from __future__ import annotations

from collections.abc import Sequence

from lifecycle import LifecycleError


class FlowError(LifecycleError, ValueError):
    """A flow, its parameters or its handlers are not right; nothing has been run or written.

    Attributes:
        problems: one line for each problem, with the file and the place in it.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("\n".join(self.problems))


class ExpressionError(LifecycleError, LookupError):
    """An expression of a flow named a value that is not there when the block ran."""


class PathNotAllowed(LifecycleError, PermissionError):
    """A path of a flow leads out of the flow's directory, and `allow_paths` does not allow it."""


class StoreError(LifecycleError, OSError):
    """The store could not be opened, read or written; what was committed before is still there."""


class StoreBusy(StoreError):
    """The store cannot be written for some time: another process has locked it, or its disk is full.

    Nothing of what was asked for was written; it may be asked for again. The scheduler itself waits on.
    """


class RunConflict(LifecycleError, RuntimeError):
    """The same flow has an unfinished run in this store that cannot simply be continued, or as many as go on at once.

    Attributes:
        flow_changed: true when the flow has changed since that run began, so that ``fresh=True`` would begin a new one;
            false when another process, or another caller, works on it.
        run_ids: the numbers of the runs beside which its ``max_instances`` lets none begin; empty for another reason.
    """

    def __init__(self, message: str, *, flow_changed: bool = False, run_ids: Sequence[int] = ()) -> None:
        self.flow_changed = flow_changed
        self.run_ids: tuple[int, ...] = tuple(run_ids)
        super().__init__(message)


class JobConflict(LifecycleError, RuntimeError):
    """A job was submitted with a key that another has which has not ended, or cannot be tried again by hand as it is.

    What cannot be tried again has not ended, has succeeded, or needs what did not succeed. Nothing was written.

    Attributes:
        job_id: the number of the job that has the key, or cannot be tried again.
        key: the key that was asked for; None when it is not about a key.
    """

    def __init__(self, message: str, job_id: int, key: str | None = None) -> None:
        self.job_id = job_id
        self.key = key
        super().__init__(message)


class OutputTooLarge(LifecycleError, ValueError):
    """A result is larger than the store may keep; write it to a file and return the file's path.

    The job is not tried again.
    """


class OutputNotPlain(LifecycleError, TypeError):
    """Something in a result has no form that can be stored or handed to another block; the job is not tried again."""


class JobFailed(LifecycleError, RuntimeError):
    """A job that did not succeed was asked for its result."""


class HandlerError(LifecycleError, RuntimeError):
    """A handler did what a handler may not do, or its job came to no end.

    It called ``sys.exit()``, raised what is no `Exception`, was cancelled by somebody who is not the scheduler.
    """


class HandlerChanged(LifecycleError, TypeError):
    """A handler does not take the arguments any more that its job was submitted with; the job is not tried again."""


class ThreadAbandoned(LifecycleError, TimeoutError):
    """A sync handler did not return after it was asked to stop, so its thread was abandoned.

    The thread still runs, so the job is not tried again.
    """


class BlockTimeout(LifecycleError, TimeoutError):
    """A block did not get done in time; the message says which bound it met.

    It took longer than its ``timeout``, or it is a ``wait_for`` that looked as often as it may, and what it waits for
    was not there.
    """


class HttpFailed(LifecycleError, RuntimeError):
    """An HTTP request was answered with a status that does not count as success.

    Attributes:
        status: the status of the answer.
        text: the beginning of its body.
    """

    def __init__(self, message: str, *, status: int, text: str) -> None:
        self.status = status
        self.text = text
        super().__init__(message)


class SecretHidden(LifecycleError, RuntimeError):
    """A block failed with an error whose text held a secret; this one says the same without it."""


class ShellFailed(LifecycleError, RuntimeError):
    """A shell command ended with an exit code that does not count as success.

    Attributes:
        returncode: the exit code, negative for the number of the signal that ended it.
        stderr: the end of what it wrote to its standard error.
    """

    def __init__(self, message: str, *, returncode: int, stderr: str) -> None:
        self.returncode = returncode
        self.stderr = stderr
        super().__init__(message)


class JobStopped(LifecycleError, RuntimeError):
    """A handler asked whether its job is being stopped, and it is; let it pass."""


class RemoteFailed(LifecycleError, RuntimeError):
    """Work that ran elsewhere did not do what it was to do, or was refused there.

    Attributes:
        reason: why, in one or two words: ``failed``, ``refused``, and what else the kind of host tells apart.
        exit_code: the process's exit code, None where there is none.
        signal: the name of the signal that ended it, None for none.
    """

    def __init__(
        self, message: str, *, reason: str = "failed", exit_code: int | None = None, signal: str | None = None
    ) -> None:
        self.reason = reason
        self.exit_code = exit_code
        self.signal = signal
        super().__init__(message)


class RemoteLost(RemoteFailed):
    """Work that runs elsewhere was lost sight of, or could not be stopped: it may still run.

    So the job is not tried again: there could be two.
    """
