"""How a cluster is reached at this moment: read from its files, and read again when they change or a token expires.

This room decides when it is read, and whether what was read is still what a client was made of. What stands in a
kubeconfig as data, keys among it, is put into a directory of our own that goes with the client: kubernetes_asyncio
would leave it, and a descriptor, until the process ends.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import yaml
from kubernetes_asyncio import config as kube_config
from kubernetes_asyncio.client import Configuration

from .._ground.text import listing, quote
from ._cluster import SERVICE_ACCOUNT, Cluster, in_a_pod
from ._kubeconfig import (
    DATA,
    Entry,
    check_certificates,
    check_server,
    impersonation,
    named,
    put,
    put_data,
    read_kubeconfigs,
    read_token,
    stamp_of,
)
from ._names import namespace_problem
from ._plugin import run_plugin

_NOT_RIGHT: Final = (
    *(kube_config.ConfigException, yaml.YAMLError, OSError, RecursionError),
    *(AssertionError, AttributeError, ValueError, LookupError, TypeError),
)

EARLY: Final = 10.0
"""Seconds by which a token is renewed before it expires."""

REST: Final = 10.0
"""Seconds that one is used at the least, whatever our clock says of it: it may be wrong."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a cluster is reached.

    Attributes:
        configuration: as kubernetes_asyncio has it.
        namespace: where jobs go that name none.
        context: the context of the kubeconfig, None in a pod.
        lasting: changes with everything but the token: two of the same can use one client.
        stamp: of the files that it came from; changes when one of them does.
        private: the directory with what stood in the kubeconfig itself; kept as long as this is in use.
        headers: further ones of each request: as whom we act.
        expires: when it is to be renewed, in seconds of the monotonic clock; None where nobody has said.
    """

    configuration: Any
    namespace: str
    context: str | None
    lasting: str
    stamp: tuple[Any, ...]
    private: tempfile.TemporaryDirectory[str] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    expires: float | None = None

    @property
    def token(self) -> str | None:
        """The value of the header ``Authorization``, None where certificates do it."""
        token = self.configuration.api_key.get("BearerToken")
        return " ".join(token.split()) if isinstance(token, str) else None  # files end in a line break

    @property
    def stamp_now(self) -> tuple[Any, ...]:
        """What the stamp would be now. Two microseconds for each file."""
        return tuple(stamp_of(stamp[0]) for stamp in self.stamp)

    @property
    def expired(self) -> bool:
        """Whether it is to be renewed, as far as the clock says."""
        return self.expires is not None and time.monotonic() >= self.expires

    def discard(self) -> None:
        """Delete what was put into files for it. Idempotent."""
        if self.private is not None:
            self.private.cleanup()


class NoCredentials(ConnectionError):
    """How a cluster is reached cannot be known: a file is missing or not right, or a credential plugin has failed."""


async def load_credentials(cluster: Cluster) -> Credentials:
    """Return how a cluster is reached, read anew.

    Cancellation: ends it, and a credential plugin that runs.

    Raises:
        NoCredentials: the files are missing or not right, or the credential plugin has failed.
    """
    try:
        return await (_of_pod(cluster) if cluster.in_cluster else _of_kubeconfig(cluster))
    except _NOT_RIGHT as error:
        raise NoCredentials(f"{_source(cluster)}: {error}") from error


async def _of_pod(cluster: Cluster) -> Credentials:
    if not in_a_pod():
        raise ValueError("this process does not run in a pod that has one; elsewhere name a kubeconfig or a context")
    configuration = type.__call__(Configuration)
    files = {f"{what}_filename": str(SERVICE_ACCOUNT / name) for what, name in (("token", "token"), ("cert", "ca.crt"))}
    await anyio.to_thread.run_sync(
        lambda: kube_config.load_incluster_config(configuration, try_refresh_token=False, **files)
    )
    # Not the token: the kubelet writes a new one each hour, and a 401 asks for it.
    stamp = (stamp_of(str(SERVICE_ACCOUNT / "ca.crt")),)
    own = SERVICE_ACCOUNT / "namespace"
    namespace = own.read_text(encoding="utf-8").strip() if own.exists() else ""
    return _credentials(cluster, configuration, namespace, None, stamp)


async def _of_kubeconfig(cluster: Cluster) -> Credentials:
    files = tuple(cluster.files())
    if not any(file.is_file() for file in files):
        advice = "; name one in a file of clusters, or in $KUBECONFIG" if cluster.kubeconfig is None else ""
        raise ValueError(f"there is no such file{advice}")
    # In a thread: it is parsed in Python, and large ones take a tenth of a second.
    merged, stamp = await anyio.to_thread.run_sync(read_kubeconfigs, files)
    name = cluster.context or merged["current-context"]
    if not name:
        raise ValueError(f"it has no current context, and none is named; it has {listing(merged['contexts'])}")
    context = named(merged, "contexts", name)
    if not context.get("cluster"):
        raise ValueError(f"context {quote(name)} names no cluster")
    reached = named(merged, "clusters", context["cluster"])
    user = named(merged, "users", context["user"]) if context.get("user") else Entry({}, "users", "")
    if not cluster.namespace and context.get("namespace") and (problem := namespace_problem(context["namespace"])):
        raise ValueError(f"{context.where}: namespace: {problem}")
    check_server(reached)
    private, expires = tempfile.TemporaryDirectory(prefix="asyncio-lifecycle-"), None
    try:
        if user.get("exec") is not None:
            expires = await _ask_plugin(user, reached, private)
        await anyio.to_thread.run_sync(_put_data, Path(private.name), reached, user)
        configuration = type.__call__(Configuration)
        await kube_config.load_kube_config_from_dict(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {**reached}}],
                "users": [{"name": "u", "user": {**user}}],
            },
            client_configuration=configuration,
        )
        return _credentials(
            cluster, configuration, context.get("namespace") or "", name, stamp, private, impersonation(user), expires
        )
    except BaseException:
        private.cleanup()
        raise


async def _ask_plugin(user: Entry, reached: Entry, private: tempfile.TemporaryDirectory[str]) -> float | None:
    """Let what a credential plugin says stand in a user's entry, and return when that expires."""
    spec = user.pop("exec")
    if not isinstance(spec, dict):
        raise ValueError(f"{user.where}: exec: expected a table, got {quote(spec)}")
    said = await run_plugin(spec, reached, user.directory)
    for key in ("token", "tokenFile", *DATA, *(f"{key}-data" for key in DATA)):
        user.pop(key, None)  # nothing else says who we are
    if "token" in said:
        user["token"] = said["token"]
    else:
        for key, what in (("client-certificate", "certificate"), ("client-key", "key")):
            user[key] = str(put(Path(private.name), key, said[what].encode()))
    return said["expires"]  # type: ignore[no-any-return]


def _put_data(private: Path, reached: Entry, user: Entry) -> None:
    """Put what stands in the entries themselves into files, and see to it that the files can be used."""
    for entry in (reached, user):
        put_data(private, entry)
    read_token(user)
    if str(reached["server"]).startswith("https:"):
        check_certificates(reached, user)


def _credentials(
    cluster: Cluster,
    configuration: Any,
    namespace: str,
    context: str | None,
    stamp: tuple[Any, ...],
    private: tempfile.TemporaryDirectory[str] | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    expires: float | None = None,
) -> Credentials:
    lasting = hashlib.sha256()
    for value in (configuration.host, configuration.verify_ssl, configuration.tls_server_name, configuration.proxy):
        lasting.update(f"{value}\n".encode())
    for path in (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file):
        lasting.update(Path(path).read_bytes() if path else b"\n")
    place, last = cluster.namespace or namespace or "default", None
    if expires is not None:
        last = time.monotonic() + max(expires - time.time() - EARLY, REST)
    return Credentials(configuration, place, context, lasting.hexdigest(), stamp, private, headers, last)


def _source(cluster: Cluster) -> str:
    if cluster.in_cluster:
        return "the service account of this pod"
    place = os.pathsep.join(map(str, cluster.files()))
    return f"kubeconfig {place}" + (f", context {cluster.context!r}" if cluster.context else "")
