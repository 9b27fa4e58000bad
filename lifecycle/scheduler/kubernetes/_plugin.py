"""Credential plugins of a kubeconfig: a command that prints a token, or a certificate, for a while.

Run here and not by kubernetes_asyncio, which sets no bound of time, fills a pipe that it does not read yet, hands the
plugin our standard input, and leaves it running when it is cancelled.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from lifecycle import Scope

from .._ground.text import one_line, quote, shorten
from .._work.group import Pipe, ProcessGroup

TIMEOUT: Final = 60.0
"""Seconds that a plugin has: it may ask a server of its own."""

LINGER: Final = 2.0
"""Seconds for what has been written when it has ended; a process that it leaves behind may hold its pipes for ever."""

LONGEST: Final = 1024 * 1024
"""Bytes that it may print; of what it says besides, the beginning is kept."""

_EXTENSION: Final = "client.authentication.k8s.io/exec"
_SHOWN: Final = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")


async def run_plugin(spec: Mapping[str, Any], cluster: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """Return what of a user entry of a kubeconfig stands for what the plugin said: a token, or a certificate and a key.

    With them ``expires``, when that is in seconds since the epoch, if it says so.

    Cancellation: the plugin is killed, with the processes that it has started, and reaped.

    Args:
        spec: the table ``exec``.
        cluster: the cluster's entry, for plugins that ask for it.
        directory: that of the kubeconfig: a command with a slash in it is relative to it.

    Raises:
        ValueError: it could not be run, failed, took too long, or said nothing of use.
    """
    command, version = spec.get("command"), spec.get("apiVersion")
    if not isinstance(command, str) or not command or not isinstance(version, str) or not version:
        raise ValueError("exec needs a command and an apiVersion")
    if spec.get("interactiveMode") == "Always":
        raise ValueError(
            f"credential plugin {quote(command, 120)} wants a terminal, interactiveMode Always; there is none"
        )
    if "/" in command:
        command = os.path.join(directory, os.path.expanduser(command))  # noqa: ASYNC240
    argv, env = [command, *_args(spec)], {**os.environ, **_env(spec)}
    env["KUBERNETES_EXEC_INFO"] = _info(version, cluster if spec.get("provideClusterInfo") else None)
    try:
        with anyio.fail_after(TIMEOUT):
            code, printed, said = await _run(argv, env)
    except TimeoutError:
        raise ValueError(f"credential plugin {quote(command, 120)} took longer than {TIMEOUT:g} s") from None
    except OSError as error:
        hint = f"; {one_line(str(spec['installHint']))}" if spec.get("installHint") else ""
        raise ValueError(f"credential plugin {quote(command, 120)} cannot be run: {error}{hint}") from error
    if code:
        shown = one_line(shorten(said.decode("utf-8", "replace").strip(), 300))
        raise ValueError(f"credential plugin {quote(command, 120)} ended with {code}: {shown}")
    if len(printed) > LONGEST:
        raise ValueError(f"credential plugin {quote(command, 120)} printed more than {LONGEST:,} bytes")
    return _read(printed, command, version)


def _args(spec: Mapping[str, Any]) -> list[str]:
    args = spec.get("args") or []
    if not isinstance(args, list):
        raise ValueError(f"exec.args: expected a list, got {quote(args)}")
    return [str(one) for one in args]


def _env(spec: Mapping[str, Any]) -> dict[str, str]:
    entries = spec.get("env") or []
    if not isinstance(entries, list) or not all(isinstance(one, dict) and "name" in one for one in entries):
        raise ValueError(f"exec.env: expected a list of tables with name and value, got {quote(entries)}")
    return {str(one["name"]): str(one.get("value") or "") for one in entries}


def _info(version: str, cluster: Mapping[str, Any] | None) -> str:
    """Return what a plugin is told in its environment: with the cluster's entry, if it asks for that."""
    spec: dict[str, Any] = {"interactive": False}
    if cluster is not None:
        about = {key: cluster[key] for key in _SHOWN if cluster.get(key)}
        file = cluster.get("certificate-authority")
        if file and "certificate-authority-data" not in about:  # a plugin gets the content, wherever it stands
            about["certificate-authority-data"] = base64.b64encode(Path(file).read_bytes()).decode()
        for extension in cluster.get("extensions") or ():
            if isinstance(extension, dict) and extension.get("name") == _EXTENSION:
                about["config"] = extension.get("extension")
        spec["cluster"] = about
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "spec": spec})


async def _run(argv: list[str], env: Mapping[str, str]) -> tuple[int, bytes, bytes]:
    """Return how a command has ended, what it has printed, and what it has said besides."""
    printed, said = bytearray(), bytearray()
    async with Scope("credential plugin") as scope:
        out, err = [await scope.acquire(Pipe, name="pipe") for _ in range(2)]
        readers = [
            scope.start_soon(pipe.read, partial(_keep, kept), name="reader of a credential plugin")
            for pipe, kept in zip((out, err), (printed, said), strict=True)
        ]
        group = await scope.acquire(ProcessGroup, argv, out, err, env, release=_end, name="credential plugin")
        code = await group.wait()
        with anyio.move_on_after(LINGER):
            for reader in readers:
                await reader.wait()
    return code, bytes(printed), bytes(said)


async def _end(group: ProcessGroup) -> None:
    """Kill it where it still runs, with all that it has started; what it leaves behind when it has spoken may live."""
    if not group.ended:
        await group.end(None)


def _keep(kept: bytearray, piece: bytes) -> None:
    kept += piece[: LONGEST + 1 - len(kept)]


def _read(printed: bytes, command: str, version: str) -> dict[str, Any]:
    try:
        answer = json.loads(printed)
        kind, said, status = answer.get("kind"), answer.get("apiVersion"), answer.get("status") or {}
        token, certificate, key = (status.get(one) for one in ("token", "clientCertificateData", "clientKeyData"))
    except (ValueError, AttributeError, RecursionError):
        raise ValueError(f"credential plugin {quote(command, 120)} printed no ExecCredential") from None
    if (kind, said) != ("ExecCredential", version):
        raise ValueError(
            f"credential plugin {quote(command, 120)} printed {quote(f'{said} {kind}', 80)}, "
            f"expected an ExecCredential of {quote(version, 80)}"
        )
    expires = _expires(status.get("expirationTimestamp"))
    if isinstance(token, str) and token:
        return {"token": token, "expires": expires}
    if isinstance(certificate, str) and certificate and isinstance(key, str) and key:
        return {"certificate": certificate, "key": key, "expires": expires}
    raise ValueError(f"credential plugin {quote(command, 120)} printed no token and no certificate with a key")


def _expires(timestamp: object) -> float | None:
    """Return a time in seconds since the epoch, None for what is none: then a 401 will tell."""
    try:
        time = datetime.fromisoformat(str(timestamp))
    except ValueError:
        return None
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
