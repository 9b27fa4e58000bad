"""How a cluster is reached at this moment: read from its files, and read again when they change or a token expires.

The meaning of a kubeconfig is kubernetes_asyncio's business; this room decides when it is read, from which files, and
whether what was read is still what a client was made of. What stands in a kubeconfig as data, keys among it, is put
into a directory of our own that goes with the client: kubernetes_asyncio would leave it, and a descriptor, until the
process ends.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import yaml
from kubernetes_asyncio import config as kube_config
from kubernetes_asyncio.client import Configuration

from .._ground.text import quote
from ._cluster import SERVICE_ACCOUNT, Cluster
from ._plugin import run_plugin

_FILES: Final = re.compile(r"(certificate-authority|client-certificate|client-key|tokenFile)$")
_DATA: Final = ("certificate-authority", "client-certificate", "client-key")


_NOT_RIGHT: Final = (kube_config.ConfigException, yaml.YAMLError, AssertionError, ValueError, LookupError, TypeError)


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
    """

    configuration: Any
    namespace: str
    context: str | None
    lasting: str
    stamp: tuple[Any, ...]
    private: tempfile.TemporaryDirectory[str] | None = None

    @property
    def token(self) -> str | None:
        """The value of the header ``Authorization``, None where certificates do it."""
        token = self.configuration.api_key.get("BearerToken")
        return " ".join(token.split()) if isinstance(token, str) else None  # files end in a line break

    @property
    def changed(self) -> bool:
        """Whether one of the files has changed since it was read. Two microseconds for each file."""
        return any(_stamp(stamp[0]) != stamp for stamp in self.stamp)

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
    except (
        kube_config.ConfigException,
        yaml.YAMLError,
        AssertionError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
    ) as error:
        raise NoCredentials(f"{_source(cluster)}: {error}") from error


def _stamp(path: str) -> tuple[str, int, int, int]:
    try:
        stat = os.stat(path)
    except OSError:
        return path, 0, 0, 0
    return path, stat.st_mtime_ns, stat.st_size, stat.st_ino


async def _of_pod(cluster: Cluster) -> Credentials:
    configuration = type.__call__(Configuration)
    await anyio.to_thread.run_sync(lambda: kube_config.load_incluster_config(configuration, try_refresh_token=False))
    # Not the token: the kubelet writes a new one each hour, and a 401 asks for it.
    stamp = (_stamp(str(SERVICE_ACCOUNT / "ca.crt")),)
    own = SERVICE_ACCOUNT / "namespace"
    namespace = own.read_text(encoding="utf-8").strip() if own.exists() else ""
    return _credentials(cluster, configuration, namespace, None, stamp)


async def _of_kubeconfig(cluster: Cluster) -> Credentials:
    files = tuple(cluster.files())
    if not any(file.is_file() for file in files):
        raise ValueError("there is no such file")
    # In a thread: it is parsed in Python, and large ones take a tenth of a second.
    merged, stamp = await anyio.to_thread.run_sync(_read_files, files)
    name = cluster.context or merged.get("current-context")
    if not name:
        raise ValueError("it has no current context, and none is named")
    context = (_named(merged, "contexts", name).get("context")) or {}
    reached = _named(merged, "clusters", context.get("cluster")).get("cluster") or {}
    user = _named(merged, "users", context["user"]) if context.get("user") else None
    private = tempfile.TemporaryDirectory(prefix="asyncio-lifecycle-")
    try:
        if user is not None:
            entry = user["user"] = dict(user.get("user") or {})
            if isinstance(entry.get("exec"), dict):
                said = await run_plugin(entry.pop("exec"), reached, user["directory"])
                if "token" in said:
                    entry["token"] = said["token"]
                else:
                    entry["client-certificate"] = _put(private, "plugin.crt", said["certificate"].encode())
                    entry["client-key"] = _put(private, "plugin.key", said["key"].encode())
            _put_data(private, entry)
        _put_data(private, reached)
        configuration = type.__call__(Configuration)
        await kube_config.load_kube_config_from_dict(merged, context=name, client_configuration=configuration)
        return _credentials(cluster, configuration, context.get("namespace") or "", name, stamp, private)
    except BaseException:
        private.cleanup()
        raise


def _named(merged: dict[str, Any], kind: str, name: object) -> dict[str, Any]:
    for entry in merged[kind]:
        if entry["name"] == name:
            return entry  # type: ignore[no-any-return]
    raise ValueError(f"it has no {kind[:-1]} {quote(name)}")


def _read_files(files: Iterable[Path]) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Return several kubeconfig files as one, and the stamp of all files that they lead to; of a name the first counts.

    The stamps are taken before the files are read, so that a change meanwhile is seen.
    """
    merged: dict[str, Any] = {"current-context": None, "clusters": [], "contexts": [], "users": []}
    stamps = []
    for file in files:
        stamps.append(_stamp(str(file)))
        if not file.is_file():
            continue
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        if not isinstance(content, dict):
            raise ValueError(f"{file} is no kubeconfig")
        merged["current-context"] = merged["current-context"] or content.get("current-context")
        for kind in ("clusters", "contexts", "users"):
            known = {one["name"] for one in merged[kind]}
            for one in content.get(kind) or ():
                if not isinstance(one, dict) or "name" not in one:
                    raise ValueError(f"{file}: {kind}: expected entries with a name, got {quote(one)}")
                if one["name"] not in known:
                    stamps += map(_stamp, _make_absolute(one.get(kind[:-1]) or {}, file.parent))
                    merged[kind].append({**one, "directory": str(file.parent)})
    return merged, tuple(stamps)


def _make_absolute(entry: dict[str, Any], directory: Path) -> list[str]:
    """Let an entry name its files wherever it is read from, and return them."""
    paths = []
    for key, value in entry.items():
        if isinstance(value, str) and value and _FILES.search(key):
            entry[key] = str(directory / Path(value).expanduser())
            paths.append(entry[key])
    return paths


def _put_data(private: tempfile.TemporaryDirectory[str], entry: dict[str, Any]) -> None:
    """Put what stands in an entry itself into files."""
    for key in _DATA:
        data = entry.pop(f"{key}-data", None)
        if data:
            entry[key] = _put(private, key, base64.b64decode(data, validate=False))


def _put(private: tempfile.TemporaryDirectory[str], name: str, content: bytes) -> str:
    path = Path(private.name) / name  # in a directory that only we may read
    path.write_bytes(content)
    return str(path)


def _credentials(
    cluster: Cluster,
    configuration: Any,
    namespace: str,
    context: str | None,
    stamp: tuple[Any, ...],
    private: tempfile.TemporaryDirectory[str] | None = None,
) -> Credentials:
    lasting = hashlib.sha256()
    for value in (configuration.host, configuration.verify_ssl, configuration.tls_server_name, configuration.proxy):
        lasting.update(f"{value}\n".encode())
    for path in (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file):
        lasting.update(Path(path).read_bytes() if path else b"\n")
    where = cluster.namespace or namespace or "default"
    return Credentials(configuration, where, context, lasting.hexdigest(), stamp, private)


def _source(cluster: Cluster) -> str:
    if cluster.in_cluster:
        return "the service account of this pod"
    place = os.pathsep.join(map(str, cluster.files()))
    return f"kubeconfig {place}" + (f", context {cluster.context!r}" if cluster.context else "")
