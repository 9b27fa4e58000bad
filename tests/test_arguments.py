"""What every room says to a wrong argument: at once, before anything has happened, and by name."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle import (
    Broadcast,
    Limiter,
    Mailbox,
    Pool,
    Rate,
    ReaderWorker,
    Registry,
    Retry,
    Scope,
    Stages,
    TaskManager,
    cached,
    connect,
    dial,
    dial_tcp,
    dial_tls,
    dial_unix,
    keep_connected,
    limit_by,
    link,
    serve_tcp,
    serve_unix,
)
from lifecycle.testing import Bubble

from .loops import virtual


async def job(*args: Any) -> None:
    pass


def plain(*args: Any) -> None:
    pass


def none() -> int:
    return 0


def one(first: Any, *, optional: int = 0) -> int:
    return 0


def three(first: Any, second: Any, third: Any) -> int:
    return 0


def needs_keyword(*args: Any, wanted: int) -> int:
    return 0


class Thing:
    def none(self) -> None: ...

    def one(self, first: Any) -> None: ...

    async def handle(self, stream: Any) -> None: ...


def pool(**arguments: Any) -> Pool[None]:
    return Pool(**{"create": job, "destroy": plain, "max_size": 2} | arguments)


def pair(**arguments: Any) -> ReaderWorker[None]:
    return ReaderWorker(**{"reader": job, "worker": job} | arguments)


CLIENT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

#: What it is called, what is made with it, and with what it is refused.
Rows = dict[str, tuple[Callable[[Any], object], list[object]]]

NO_SECONDS: list[object] = ["3", -1, float("nan"), True, [1]]
NO_COUNT: list[object] = ["3", 1.5, 0, -1, True, float("nan")]

VALUES: Rows = {
    "ttl of cached": (lambda it: cached(ttl=it), NO_SECONDS),
    "idle_ttl of cached": (lambda it: cached(idle_ttl=it), NO_SECONDS),
    "max_size of cached": (lambda it: cached(max_size=it), NO_COUNT),
    "failure_ttl of cached": (lambda it: cached(failure_ttl=it), NO_SECONDS),
    "create_timeout of cached": (lambda it: cached(create_timeout=it), NO_SECONDS),
    "ttl_jitter of cached": (lambda it: cached(ttl_jitter=it), [*NO_SECONDS, None, 1.5]),
    "typed of cached": (lambda it: cached(typed=it), [1, None, "yes"]),
    "limit of sweep": (lambda it: Registry[Any, Any]().sweep(it), ["3", 1.5, -1, True]),
    "registration of remove": (lambda it: Registry[Any, Any]().remove(it), [3, None, "key"]),
    "timeout of acquire": (lambda it: pool().acquire(timeout=it), NO_SECONDS),
    "check_bypass of Pool": (lambda it: pool(check_bypass=it), [*NO_SECONDS, None]),
    "generation of report_lost": (
        lambda it: keep_connected(job).report_lost(None, generation=it),
        ["3", 1.5, -1, True],
    ),
    "reason of reconnect": (lambda it: keep_connected(job).reconnect(it), [3, b"why", True]),
    "host of serve_tcp": (lambda it: serve_tcp(job, it), [3, True, b"::1"]),
    "ssl of serve_tcp": (lambda it: serve_tcp(job, ssl=it), [3, True, "cert.pem", CLIENT]),
    "handshake_timeout of serve_tcp": (lambda it: serve_tcp(job, handshake_timeout=it), [*NO_SECONDS, 0]),
    "path of serve_unix": (lambda it: serve_unix(job, it), [3, True, "", b""]),
    "owner of serve_unix": (lambda it: serve_unix(job, "a.sock", owner=it), [(-5, None), (None, -1)]),
    "failures of pause": (lambda it: Retry().pause(it), NO_COUNT),
    "attempts of pause_after": (lambda it: Retry().pause_after(it, OSError(), 1.0), NO_COUNT),
    "error of covers": (lambda it: Retry().covers(it), [3, "x", OSError]),
}

FUNCTIONS: Rows = {
    "weigher of Registry": (lambda it: Registry(max_size=3, weigher=it), [none, one, three, job]),
    "finalizer of Registry": (lambda it: Registry(finalizer=it), [none, three, needs_keyword, Thing().none]),
    "clock of Registry": (lambda it: Registry(clock=it), [one, job, Thing().one]),
    "on_removed of Registry": (lambda it: Registry(on_removed=it), [none, three]),
    "finalizer of Registry that tells": (lambda it: Registry(on_removed=plain, finalizer=it), [none]),
    "factory of lease": (lambda it: Registry[Any, Any]().lease("key", it), [3, "x"]),
    "ttl of cached": (lambda it: cached(ttl=it), [none, job]),
    "key of cached": (lambda it: cached(key=it), [3, job]),
    "clock of cached": (lambda it: cached(clock=it), [3, one, job]),
    "create of Pool": (lambda it: pool(create=it), [one, 3]),
    "destroy of Pool": (lambda it: pool(destroy=it), [none, None]),
    "check of Pool": (lambda it: pool(check=it), [none, three]),
    "reset of Pool": (lambda it: pool(reset=it), [none, three]),
    "connector of connect": (lambda it: connect(it, 1, 2), [one]),
    "connector of keep_connected": (lambda it: keep_connected(it, 1, 2), [one]),
    "replay of keep_connected": (lambda it: keep_connected(job, replay=it), [none]),
    "on_up of keep_connected": (lambda it: keep_connected(job, on_up=it), [none]),
    "on_down of keep_connected": (lambda it: keep_connected(job, on_down=it), [none]),
    "close of dial": (lambda it: dial(job, close=it), [none]),
    "check of dial": (lambda it: dial(job, check=it), [none]),
    "handler of serve_tcp": (lambda it: serve_tcp(it), [none, three]),
    "on_error of serve_tcp": (lambda it: serve_tcp(job, on_error=it), [none, one]),
    "on_error of TaskManager": (lambda it: TaskManager(on_error=it), [none, one]),
    "reader of ReaderWorker": (lambda it: pair(reader=it), [none, plain]),
    "worker of ReaderWorker": (lambda it: pair(worker=it), [none, plain]),
    "close of ReaderWorker": (lambda it: pair(close=it), [one]),
    "abort of ReaderWorker": (lambda it: pair(close=job, abort=it), [one]),
    "on_drop of ReaderWorker": (lambda it: pair(on_drop=it), [none]),
    "on_drop of Mailbox": (lambda it: Mailbox(on_drop=it), [none, three]),
    "limit of limit_by": (lambda it: limit_by(plain, limit=it), [none]),
    "rate of limit_by": (lambda it: limit_by(plain, rate=it), [none]),
    "retry_on of Retry": (lambda it: Retry(retry_on=it), [none, three]),
    "on_failure of Retry": (lambda it: Retry(on_failure=it), [none, three]),
}


def refused(rows: Rows) -> list[Any]:
    return [
        pytest.param(make, wrong, name.partition(" ")[0], id=f"{name}-{number}")
        for name, (make, wrongs) in rows.items()
        for number, wrong in enumerate(wrongs)
    ]


@pytest.mark.parametrize(("make", "wrong", "name"), refused(VALUES))
def test_a_wrong_value_is_refused_at_once_and_by_name(make: Callable[[Any], object], wrong: Any, name: str) -> None:
    """Not at the first call, the first block or the first handshake: the line that is wrong raises."""
    with pytest.raises((TypeError, ValueError), match=name):
        make(wrong)


@pytest.mark.parametrize(("make", "wrong", "name"), refused(FUNCTIONS))
def test_a_function_that_cannot_be_called_so_is_refused_at_once(
    make: Callable[[Any], object], wrong: Any, name: str
) -> None:
    """A finalizer that takes nothing would fail at the first removal, a handler at every connection."""
    with pytest.raises(TypeError, match=name):
        make(wrong)


def test_what_can_be_called_is_taken() -> None:
    """Methods, partials, classes, built-in functions and what says nothing about itself."""
    assert Registry(finalizer=Thing.none, clock=asyncio.Event, max_size=1, weigher=lambda *_: 1)
    assert Registry(finalizer=[].append, on_removed=Thing().one)
    assert pool(destroy=Thing.none, check=lambda it, deep=False: it, reset=one)
    assert Retry(retry_on=one, on_failure=print)
    assert Limiter(limit_by=limit_by(plain, limit=int, rate=lambda _: Rate(3)))
    assert connect(job, 1, 2)
    assert serve_tcp(Thing().handle, ssl=SERVER, on_error=lambda *_: None)
    assert serve_unix(job, b"a.sock")  # type: ignore[arg-type]
    assert Broadcast[int]().subscribe(None)


@virtual
async def test_a_wrong_argument_of_a_stage_is_refused_before_anything_is_made(bubble: Bubble) -> None:
    """The attempt fails with an error that names it, and not with what a resolver or a handshake makes of it."""

    async def refuses(name: str, use: Callable[[Stages], Any]) -> None:
        async def connector(stages: Stages) -> None:
            with pytest.raises((TypeError, ValueError), match=name):
                await use(stages)

        await connect(connector)

    for host in (3, None, b"::1"):
        await refuses("host", lambda stages, it=host: dial_tcp(stages, it, 80))  # type: ignore[misc]
    for port in ("80", None, -1, 0, 70_000, True, 1.5):
        await refuses("port", lambda stages, it=port: dial_tcp(stages, "::1", it))  # type: ignore[misc]
    for context in (3, True, "cert.pem", SERVER):
        await refuses("context", lambda stages, it=context: dial_tls(stages, "::1", 1, it))  # type: ignore[misc]
    await refuses("server_name", lambda stages: dial_tls(stages, "::1", 1, None, 3))  # type: ignore[arg-type]
    for path in (3, None, ""):
        await refuses("path", lambda stages, it=path: dial_unix(stages, it))  # type: ignore[misc]
    for awaitable in (3, None, job):
        await refuses("awaitable", lambda stages, it=awaitable: stages.step(it))  # type: ignore[misc]
    await refuses("release", lambda stages: stages.acquire(none, release=none))


@virtual
async def test_wrong_arguments_of_link_are_refused_before_a_loop_has_begun(bubble: Bubble) -> None:
    """Also those that are to be called only at the end."""
    with pytest.raises(TypeError, match=r"the loop none is called with 1 argument"):
        await link((none, 1))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="may_end"):
        await link(job, may_end=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="close is called with 0 arguments"):
        await link(job, close=one)  # type: ignore[arg-type]


@virtual
async def test_a_scope_refuses_a_release_that_takes_nothing(bubble: Bubble) -> None:
    """It would fail when the value is there, and has to go."""
    async with Scope() as scope:
        with pytest.raises(TypeError, match="release is called with 1 argument, which none"):
            await scope.acquire(none, release=none)  # type: ignore[arg-type]
