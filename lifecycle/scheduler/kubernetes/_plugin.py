"""Credential plugins of a kubeconfig: a command that prints a token, or a certificate, for a while.

Run here and not by kubernetes_asyncio, which sets no bound of time, fills a pipe that it does not read yet, hands the
plugin our standard input, and leaves it running when it is cancelled.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any, Final

import anyio

from .._ground.text import one_line, quote, shorten

TIMEOUT: Final = 60.0
"""Seconds that a plugin has: it may ask a server of its own."""


async def run_plugin(spec: Mapping[str, Any], cluster: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """Return what of a user entry of a kubeconfig stands for what the plugin said: a token, or a certificate and a key.

    Cancellation: the plugin is killed, and reaped.

    Args:
        spec: the table ``exec``.
        cluster: the cluster's entry, for plugins that ask for it.
        directory: that of the kubeconfig: a command with a slash in it is relative to it.

    Raises:
        ValueError: it could not be run, failed, took too long, or said nothing of use.
    """
    command, version = spec.get("command"), spec.get("apiVersion")
    if not isinstance(command, str) or not isinstance(version, str):
        raise ValueError("exec needs a command and an apiVersion")
    if "/" in command:
        command = os.path.join(directory, os.path.expanduser(command))  # noqa: ASYNC240
    argv = [command, *map(str, spec.get("args") or ())]
    info: dict[str, Any] = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    if spec.get("provideClusterInfo"):
        info["spec"]["cluster"] = {
            "server": cluster.get("server"),
            "certificate-authority-data": cluster.get("certificate-authority-data"),
            "insecure-skip-tls-verify": bool(cluster.get("insecure-skip-tls-verify")),
        }
    env = {entry["name"]: str(entry["value"]) for entry in spec.get("env") or ()}
    env = {**os.environ, **env, "KUBERNETES_EXEC_INFO": json.dumps(info)}
    try:
        with anyio.fail_after(TIMEOUT):
            done = await anyio.run_process(argv, stdin=subprocess.DEVNULL, check=False, env=env)
    except TimeoutError:
        raise ValueError(f"credential plugin {quote(command)} took longer than {TIMEOUT:g} s") from None
    except OSError as error:
        hint = f"; {one_line(str(spec['installHint']))}" if spec.get("installHint") else ""
        raise ValueError(f"credential plugin {quote(command)} cannot be run: {error}{hint}") from error
    if done.returncode:
        said = one_line(shorten(done.stderr.decode("utf-8", "replace").strip(), 300))
        raise ValueError(f"credential plugin {quote(command)} ended with {done.returncode}: {said}")
    return _read(done.stdout, command)


def _read(printed: bytes, command: str) -> dict[str, Any]:
    try:
        status = json.loads(printed)["status"]
        if isinstance(status.get("token"), str):
            return {"token": status["token"]}
        certificate, key = status["clientCertificateData"], status["clientKeyData"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"credential plugin {quote(command)} printed no token and no certificate") from None
    return {"certificate": str(certificate), "key": str(key)}
