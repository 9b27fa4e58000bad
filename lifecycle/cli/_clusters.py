"""Clusters for ``kubernetes`` blocks: the option that names their file, for all commands that run a scheduler."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ._common import existing_file

if TYPE_CHECKING:
    from ..scheduler.kubernetes import Kubernetes

clusters_option: Final = click.option(
    "--clusters",
    type=existing_file,
    metavar="FILE",
    help="The clusters of kubernetes blocks, a TOML file.  [default: the contexts of the usual kubeconfig]",
)


def hosts_from(clusters: Path | None) -> dict[str, Any]:
    """Return the hosts of a scheduler: none where no file is named, so that the first block makes the usual one."""
    return {} if clusters is None else {"kubernetes": kubernetes_from(clusters)}


def kubernetes_from(clusters: Path | None) -> Kubernetes:
    """Return a host for the clusters of a file, or of the usual kubeconfig.

    Raises:
        BadParameter: the file is not right.
        UsageError: what it needs is not installed.
    """
    if importlib.util.find_spec("kubernetes_asyncio") is None:
        raise click.UsageError("clusters need kubernetes_asyncio: pip install 'asyncio-lifecycle[kubernetes]'")
    from ..scheduler.kubernetes import Kubernetes

    try:
        return Kubernetes(clusters)
    except (TypeError, ValueError) as error:
        raise click.BadParameter(str(error), param_hint="'--clusters'") from None
