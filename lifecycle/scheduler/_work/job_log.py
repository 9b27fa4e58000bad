"""JobLogFilter: every record that is made inside a job says whose it is, and holds no secret of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from .current import current_job
from .failures import trace, without_secrets

if TYPE_CHECKING:
    from .._ground.secrets import Secrets

_STANDARD: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})


class JobLogFilter(logging.Filter):
    """Adds ``job_id``, ``job``, ``run_id`` and ``attempt`` to records, and hides the secrets of the job in them.

    To be added to a *handler* of your program's logging, whose filters see the records of every library:
    ``handler.addFilter(JobLogFilter())``. Outside of jobs, and without a run, the fields are None, so that a format may
    name them. A field that the record has already stays. The values of ``${env:NAME}`` that the job has read are
    replaced in the message, the error, the stack and the other fields, for this handler and those after it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete the record; it always passes."""
        job = current_job()
        fields = vars(record)
        fields.setdefault("job_id", job and job.id)
        fields.setdefault("job", job and job.name)
        fields.setdefault("run_id", job and job.run_id)
        fields.setdefault("attempt", job and job.attempt)
        secrets = job._known_secrets() if job is not None else None
        if secrets is not None and secrets.forms:
            _hide(record, secrets)
        return True


def _hide(record: logging.LogRecord, secrets: Secrets) -> None:
    try:
        message = record.getMessage()
    except Exception:  # the handler says so
        message, record.args = str(record.msg), None
    if (hidden := secrets.hide(message)) != message:
        record.msg, record.args = hidden, None
    fields: dict[str, Any] = vars(record)
    for name in fields.keys() - _STANDARD | {"exc_text", "stack_info"}:
        if isinstance(fields[name], str):
            fields[name] = secrets.hide(fields[name])
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return
    safe = without_secrets(error, secrets)
    if safe is not error:
        record.exc_text = trace(error, secrets.hide)
        record.exc_info = (type(safe), safe, None)
