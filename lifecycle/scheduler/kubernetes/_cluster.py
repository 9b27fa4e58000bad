"""A cluster, as configuration names it, and the files that say how it is reached."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .._ground.checks import check_flag, check_seconds
from .._ground.text import did_you_mean, listing, quote
from ._names import namespace_problem

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds the token and the namespace that are its own."""

DEFAULT: Final = "default"
"""The name of the cluster of a block that names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """How a cluster is reached.

    Attributes:
        kubeconfig: the file, or several as in ``$KUBECONFIG``; by default that variable's, else ``~/.kube/config``.
        context: the context in it; by default the current one.
        in_cluster: whether to use the service account of the pod that this process runs in, instead of a file.
        namespace: where jobs go that name none; by default the context's, or the pod's own, or ``default``.
        timeout: seconds that a single request may take; a server with slow admission webhooks takes up to a minute.

    Raises:
        TypeError, ValueError: a value is of the wrong type or out of its range.
    """

    kubeconfig: str | os.PathLike[str] | None = None
    context: str | None = None
    in_cluster: bool = False
    namespace: str | None = None
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.kubeconfig is not None and not isinstance(self.kubeconfig, (str, os.PathLike)):
            raise TypeError(f"kubeconfig must be a path, got {quote(self.kubeconfig)}")
        for what in ("context", "namespace"):
            value = getattr(self, what)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{what} must be a string, got {quote(value)}")
        for what in ("kubeconfig", "context"):  # it would be the usual one, which is hardly what is meant
            if getattr(self, what) == "":
                raise ValueError(f"{what} must not be empty")
        if self.namespace is not None and (problem := namespace_problem(self.namespace)):
            raise ValueError(f"namespace: {problem}")
        check_flag(self.in_cluster, "in_cluster")
        check_seconds(self.timeout, "timeout", positive=True, needed=True)
        if self.in_cluster and (self.kubeconfig is not None or self.context is not None):
            raise ValueError("in_cluster uses the pod's own account; it goes with no kubeconfig and no context")

    def files(self) -> Iterator[Path]:
        """Yield the kubeconfig files, the first that counts first; those that do not exist as well."""
        given = os.fspath(self.kubeconfig) if self.kubeconfig is not None else os.environ.get("KUBECONFIG", "")
        for path in (given or "~/.kube/config").split(os.pathsep):
            if path:
                yield Path(os.path.expanduser(path))  # that of pathlib raises for a user who is not there


def in_a_pod() -> bool:
    """Return whether this process runs in a pod with a service account."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and (SERVICE_ACCOUNT / "token").exists()


def usual_cluster(name: str) -> Cluster:
    """Return the cluster of a name that no configuration has: a context of the usual kubeconfig.

    ``default`` is the pod's own cluster in a pod, and the current context elsewhere.
    """
    if name != DEFAULT:
        return Cluster(context=name)
    return Cluster(in_cluster=True) if in_a_pod() else Cluster()


def read_clusters(path: str | os.PathLike[str]) -> dict[str, Cluster]:
    """Return the clusters of a TOML file: a table for each, named by it; relative paths are relative to the file.

    Raises:
        ValueError: it is not right; the message names the place.
        OSError: it cannot be read.
    """
    file = Path(path)
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: {error}") from None
    return {name: _read_cluster(file, name, table) for name, table in tables.items()}


def _read_cluster(file: Path, name: str, table: Any) -> Cluster:
    if not isinstance(table, Mapping):
        raise ValueError(f"{file}: {name}: expected a table, [{name}], got {quote(table)}")
    known = Cluster.__slots__
    for key in table:
        if key not in known:
            raise ValueError(
                f"{file}: {name}: unknown key {quote(key)}{did_you_mean(key, known)}; expected {listing(known)}"
            )
    given = dict(table)
    if isinstance(given.get("kubeconfig"), str):
        paths = [file.parent / os.path.expanduser(one) for one in given["kubeconfig"].split(os.pathsep) if one]
        given["kubeconfig"] = os.pathsep.join(map(str, paths))
    try:
        return Cluster(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: {name}: {error}") from None
