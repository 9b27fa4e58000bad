"""From what was submitted to what a store keeps."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

from .._blocks.flow import Flow, JobSpec
from .._ground.checks import check_integer, check_name, check_seconds, is_number
from .._ground.limits import RESULT_BYTES
from .._ground.pauses import pauses_from
from .._ground.text import job_label
from .._ground.times import seconds_of
from .._ground.values import to_plain
from .._store.limits import DEFAULT_QUEUE, check_queue
from .._store.records import NewJob, NewRun, canonical
from .._store.skipping import WHEN
from .._store.terms import Terms
from .._work.handlers import Handler, HandlerTable, make_handler, name_of, registered_handlers
from .terms import new_terms


def find_handler(submitted: Callable[..., Any] | str, table: HandlerTable, *, durable: bool) -> Handler:
    """Return the handler that was submitted, as a function or by its name.

    Raises:
        LookupError: no handler has this name.
        TypeError: it is not callable, or a durable store could not find it again by a name.
    """
    if isinstance(submitted, str):
        known = table.get(submitted)
        if known is None:
            raise LookupError(table.unknown(submitted))
        return known
    _refuse_coroutine(submitted)
    if not callable(submitted):
        raise TypeError(f"expected a function, the name of a handler, or a flow, got {submitted!r}")
    known = table.get(name_of(submitted))
    if known is not None and known.function is submitted:
        return known
    if durable:
        raise TypeError(
            f"{name_of(submitted)} has no name that a durable store could find it by after a restart; "
            "mark it with @handler(NAME)"
        )
    return make_handler(submitted)


def _refuse_coroutine(submitted: object) -> None:
    if isinstance(submitted, Coroutine):
        submitted.close()  # it is refused, and nobody else has it
        raise TypeError(f"expected a function, got a call of it, {submitted!r}; give the function and its arguments")


class CallSettings(NamedTuple):
    """How a call is to be run; from the keyword arguments of ``submit``."""

    priority: int = 0
    delay: float | timedelta = 0.0
    retries: int = 0
    backoff: tuple[float, float] = (0.1, 10.0)
    timeout: float | None = None
    name: str | None = None
    queue: str = DEFAULT_QUEUE
    when: str = "success"
    terms: Terms | None = None

    def check(self) -> None:
        """Check every setting.

        Raises:
            TypeError, ValueError: one is of the wrong type, or out of its range.
        """
        check_integer(self.priority, "priority", -(10**6), 10**6)
        check_integer(self.retries, "retries", 0, 10_000)
        seconds_of(self.delay, "delay")
        check_seconds(self.timeout, "timeout", positive=True)
        if not isinstance(self.backoff, (tuple, list)) or len(self.backoff) != 2:
            raise TypeError(
                f"backoff: expected the first pause in seconds, or the first and the longest, got {self.backoff!r}"
            )
        for pause in self.backoff:
            check_seconds(pause, "backoff", needed=True)
        if self.backoff[0] > self.backoff[1]:
            raise ValueError(f"backoff: the first pause is longer than the longest, got {self.backoff!r}")
        if self.when not in WHEN:
            kind = ValueError if isinstance(self.when, str) else TypeError
            raise kind(f"when must be one of {', '.join(WHEN)}, got {self.when!r}")
        check_name(self.name)
        if self.name == "":
            raise ValueError("name must not be empty; None stands for the handler's")
        check_queue(self.queue)


_PLAIN = CallSettings()
_TERMS: Final = frozenset({"at", "expires", "key", "on_twin", "needs", "metadata"})
_SETTINGS: Final = frozenset(CallSettings._fields) - {"terms"} | _TERMS


def call_settings(given: Mapping[str, Any]) -> CallSettings:
    """Return the settings that were given, checked, and the others as they are by default.

    Raises:
        ValueError, TypeError: one is not right, or there is no setting of that name.
    """
    if not given:
        return _PLAIN
    if unknown := [name for name in given if name not in _SETTINGS]:
        raise TypeError(f"a call of a handler has no setting {unknown[0]!r}; there are {', '.join(sorted(_SETTINGS))}")
    backoff = given.get("backoff")
    if is_number(backoff):  # as in a flow file
        check_seconds(backoff, "backoff", needed=True)
        given = {**given, "backoff": pauses_from(backoff)}  # type: ignore[arg-type]
    terms = {name: value for name, value in given.items() if name in _TERMS}
    settings = CallSettings(**{name: value for name, value in given.items() if name not in terms})
    settings.check()
    if settings.when != "success" and not terms.get("needs"):
        raise TypeError(f"when={settings.when!r} is for a job with needs")
    return settings._replace(terms=new_terms(delay=settings.delay, **terms)) if terms else settings


def new_call(
    submitted: Callable[..., Any] | str,
    args: tuple[Any, ...],
    settings: CallSettings,
    *,
    durable: bool,
    shared: bool,
) -> NewJob:
    """Return the job that calls what was submitted.

    Args:
        submitted: a function, or the name of a handler.
        args: what it is called with.
        settings: how it is to be run.
        durable: whether the store outlives this process, so that it has to have a name, and plain arguments.
        shared: whether others run what this process submits: then a name that is not known here may be known there.

    Raises:
        LookupError: no handler has this name.
        ValueError, TypeError: an argument is not right.
    """
    handlers = registered_handlers()
    if shared and isinstance(submitted, str) and submitted not in handlers:
        return named_job(submitted, args, settings)
    return new_job(find_handler(submitted, handlers, durable=durable), args, settings, durable=durable)


def new_job(handler: Handler, args: tuple[Any, ...], settings: CallSettings, *, durable: bool) -> NewJob:
    """Return the job that calls a handler.

    Raises:
        ValueError, TypeError: an argument is not right.
    """
    if problem := handler.problem_of_values(args):
        raise ValueError(f"arguments: {problem}")
    return _job((handler, args) if not durable else _payload(handler.name, args), handler.label, settings)


def named_job(handler: str, args: Sequence[Any], settings: CallSettings) -> NewJob:
    """Return the job that calls the handler of this name, in whichever process knows it.

    Raises:
        ValueError, TypeError: an argument is not right.
    """
    check_queue(handler, "handler")
    return _job(_payload(handler, args), job_label(handler), settings)


def _payload(handler: str, args: Sequence[Any]) -> dict[str, Any]:
    return {"handler": handler, "args": to_plain(list(args), f"the arguments of {handler}", RESULT_BYTES)}


def _job(payload: Any, label: str, settings: CallSettings) -> NewJob:
    priority, delay, retries, backoff, timeout, name, queue, when, terms = settings
    label = label if name is None else job_label(name)
    after = seconds_of(delay, "delay") if delay else 0.0
    return NewJob(label, "call", (), priority, after, retries, backoff, timeout, payload, queue, when, terms=terms)


def check_flow_settings(flow: Flow, args: Sequence[Any], given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Check that a flow is given what a flow takes.

    Raises:
        TypeError: it is given arguments, or a setting that is none of a flow.
    """
    if args:
        raise TypeError(f"the flow {flow.name!r} takes params and no arguments")
    if unknown := [name for name in given if name not in known]:
        raise TypeError(f"the flow {flow.name!r} takes {', '.join(known)}, and no {unknown[0]!r}")


def new_run(flow: Flow, params: Mapping[str, Any]) -> NewRun:
    """Return the run of a flow with these values of its parameters."""
    jobs = tuple(_flow_job(spec) for spec in flow.jobs.values())
    return NewRun(flow.name, flow.source, flow.digest, canonical(params), jobs, flow.bound)


def _flow_job(spec: JobSpec) -> NewJob:
    return NewJob(
        spec.name,
        spec.block.kind,
        needs=spec.needs,
        priority=spec.priority,
        delay=spec.delay,
        retries=spec.retries,
        backoff=spec.backoff,
        timeout=spec.block.timeout,
        when=spec.when,
        tolerates=spec.tolerates,
        payload=None if spec.block.calls is None else {"handler": spec.block.calls},
        queue=spec.queue,
    )
