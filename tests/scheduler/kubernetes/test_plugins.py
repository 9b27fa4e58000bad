"""Credential plugins: what they may say, what becomes of one that does not, and that nothing of one is left."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle.scheduler._work.group import group_lives
from lifecycle.scheduler.kubernetes import _plugin
from lifecycle.scheduler.kubernetes._plugin import run_plugin

from .places import VERSION, Certificates, plugin, says

pytestmark = pytest.mark.asyncio


async def run(directory: Path, script: str, cluster: Any = None, **spec: Any) -> dict[str, Any]:
    """Return what a plugin says."""
    return await run_plugin(plugin(directory / "says", script, **spec)["exec"], cluster or {}, str(directory))


async def error_of(directory: Path, script: str, **spec: Any) -> str:
    """Return what is said of a plugin that is of no use."""
    with pytest.raises(ValueError) as raised:
        await run(directory, script, **spec)
    return str(raised.value)


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # that of the listing itself


# What it is told, and what it says


async def test_a_token_with_its_end(tmp_path: Path) -> None:
    """In seconds since the epoch; without one, nobody knows."""
    said = await run(tmp_path, says("t", expirationTimestamp="2026-12-01T00:00:00Z"))
    assert said == {"token": "t", "expires": 1_796_083_200.0}
    assert await run(tmp_path, says("t")) == {"token": "t", "expires": None}
    assert await run(tmp_path, says("t", expirationTimestamp="soon")) == {"token": "t", "expires": None}


async def test_it_is_told_how_it_is_called(tmp_path: Path) -> None:
    """With its arguments and variables, which may also be null, and nothing on its standard input."""
    script = f'read line && exit 9; test "$1$2$A" = "-x3yes" || exit 8; test -n "$HOME" || exit 7; {says()}'
    env = [{"name": "A", "value": "yes"}, {"name": "B"}]
    assert (await run(tmp_path, script, args=["-x", 3], env=env))["token"] == "told"
    assert (await run(tmp_path, says(), args=None, env=None))["token"] == "told"


async def test_it_is_told_of_the_cluster_if_it_asks(tmp_path: Path, files: Certificates) -> None:
    """Also of an authority that stands in a file (kubernetes-client/python#2298)."""
    script = f'echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/info; {says()}'
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}
    cluster = {"server": "https://a", "certificate-authority": str(files.ca_crt), "tls-server-name": "b"}
    cluster |= {"extensions": [{"name": "other"}, extension]}
    await run(tmp_path, script, cluster, provideClusterInfo=True)
    info = json.loads((tmp_path / "info").read_text())
    assert info == {
        "apiVersion": VERSION,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": "https://a",
                "tls-server-name": "b",
                "certificate-authority-data": base64.b64encode(files.ca_crt.read_bytes()).decode(),
                "config": {"audience": "a"},
            },
        },
    }
    await run(tmp_path, script, cluster)
    assert "cluster" not in json.loads((tmp_path / "info").read_text())["spec"]


async def test_what_it_says_besides_is_read_however_much_it_is(tmp_path: Path) -> None:
    """100 KiB are more than a pipe holds."""
    noise = "head -c 102400 /dev/zero | tr '\\0' x >&2"
    assert (await run(tmp_path, f"{noise}; {says()}"))["token"] == "told"
    told = await error_of(tmp_path, f"echo no rights for you >&2; {noise}; exit 3")
    assert "ended with 3: no rights for you" in told
    assert len(told) < 600


ANSWERS = {
    "nothing": ("", "printed no ExecCredential"),
    "words": ("hello", "printed no ExecCredential"),
    "a list": ("[]", "printed no ExecCredential"),
    "no status": (json.dumps({"apiVersion": VERSION, "kind": "ExecCredential"}), "no token and no certificate"),
    "an odd status": (
        json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": "x"}),
        "no ExecCredential",
    ),
    "another version": (
        json.dumps({"apiVersion": "client.authentication.k8s.io/v1alpha1", "kind": "ExecCredential"}),
        f"printed 'client.authentication.k8s.io/v1alpha1 ExecCredential', expected an ExecCredential of {VERSION!r}",
    ),
    "another kind": (json.dumps({"apiVersion": VERSION, "kind": "Status"}), f"printed '{VERSION} Status', expected"),
    "an empty token": (
        json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": {"token": ""}}),
        "no token and no certificate",
    ),
    "a certificate without a key": (
        json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": {"clientCertificateData": "x"}}),
        "no token and no certificate with a key",
    ),
}


@pytest.mark.parametrize(("printed", "said"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_of_no_use_is_told(printed: str, said: str, tmp_path: Path) -> None:
    """With the plugin's name and what was expected; never with what it has printed: that may be a secret."""
    told = await error_of(tmp_path, f"echo '{printed}'")
    assert said in told
    assert f"{tmp_path}/says" in told


async def test_one_that_cannot_be_run_is_told_with_the_hint(tmp_path: Path) -> None:
    """It is not there, or it is no program."""
    spec = {"apiVersion": VERSION, "command": "no-such-plugin", "installHint": "install it\nfrom here"}
    with pytest.raises(ValueError, match=r"'no-such-plugin' cannot be run: .*; install it\\nfrom here"):
        await run_plugin(spec, {}, str(tmp_path))
    (tmp_path / "text").write_text("x")
    with pytest.raises(ValueError, match="cannot be run"):
        await run_plugin({**spec, "command": "./text"}, {}, str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"interactiveMode": "Always"}, "wants a terminal"),
        ({"args": "-x"}, "exec.args: expected a list"),
        ({"env": {"A": "b"}}, "exec.env: expected a list of tables"),
        ({"env": [{"value": "b"}]}, "exec.env: expected a list of tables"),
    ],
    ids=["terminal", "args", "env", "no name"],
)
async def test_what_it_asks_for_and_cannot_have_is_told(spec: dict[str, Any], said: str, tmp_path: Path) -> None:
    """Before it is run."""
    assert said in await error_of(tmp_path, f"touch {tmp_path}/ran", **spec)
    assert not (tmp_path / "ran").exists()


async def test_a_signal_that_ends_it_is_told(tmp_path: Path) -> None:
    """As a negative exit code."""
    assert "ended with -9" in await error_of(tmp_path, "kill -9 $$")


async def test_what_never_ends_to_print_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and not kept."""
    monkeypatch.setattr(_plugin, "LONGEST", 1000)
    assert "printed more than 1,000 bytes" in await error_of(tmp_path, "head -c 5000 /dev/zero")


# One that does not end

#: It has a child, says so, and waits for ever.
HANGS = "sleep 1000 & echo $$ > {0}/pid.new; mv {0}/pid.new {0}/pid; wait"


async def group_of(directory: Path) -> int:
    """Return the process group of a plugin that hangs."""
    while not (directory / "pid").exists():
        await asyncio.sleep(0.005)
    return int((directory / "pid").read_text())


async def has_gone(group: int) -> None:
    """Return when no process of a group is left; the test's own bound says when there still is one."""
    while group_lives(group):
        await asyncio.sleep(0.005)


async def test_one_that_hangs_is_killed_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its time is up."""
    monkeypatch.setattr(_plugin, "TIMEOUT", 0.3)
    asking = asyncio.create_task(error_of(tmp_path, HANGS.format(tmp_path)))
    group = await group_of(tmp_path)
    assert "took longer than 0.3 s" in await asking
    await has_gone(group)


async def test_one_that_ignores_signals_is_killed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked."""
    monkeypatch.setattr(_plugin, "TIMEOUT", 0.3)
    asking = asyncio.create_task(error_of(tmp_path, f"trap '' TERM INT HUP; {HANGS.format(tmp_path)}"))
    group = await group_of(tmp_path)
    assert "took longer" in await asking
    await has_gone(group)


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
async def test_whoever_stops_to_wait_leaves_nothing(how: str, tmp_path: Path) -> None:
    """No process, and no descriptor (kubernetes/kubernetes#108849)."""
    if how == "cancelled":
        asking = asyncio.create_task(run(tmp_path, HANGS.format(tmp_path)))
        group = await group_of(tmp_path)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    else:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run, tmp_path, HANGS.format(tmp_path))
                group = await group_of(tmp_path)
                scope.cancel()
    await has_gone(group)


async def test_however_early_somebody_stops_to_wait_nothing_is_left(tmp_path: Path) -> None:
    """Also while it is being started: asyncio would wait there for whoever holds its pipes, and not know its group."""
    (tmp_path / "sleeper").symlink_to("/bin/sleep")
    user = plugin(tmp_path / "says", f"{tmp_path}/sleeper 1000 & wait")
    for turns in range(12):
        asking = asyncio.create_task(run_plugin(user["exec"], {}, str(tmp_path)))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    while any(str(tmp_path) in line for line in _lines_of_processes()):
        await asyncio.sleep(0.005)


def _lines_of_processes() -> Iterator[str]:
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield place.read_text(errors="replace")


async def test_one_that_leaves_somebody_behind_has_spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that it started for later holds its pipe: that is not waited for, and not killed."""
    monkeypatch.setattr(_plugin, "LINGER", 0.05)
    said = await run(tmp_path, f"sleep 1000 & echo $! > {tmp_path}/child; {says()}")
    assert said["token"] == "told"
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)  # it lives, so this does not raise
