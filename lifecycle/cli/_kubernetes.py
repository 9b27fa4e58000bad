"""``lifecycle kubernetes``: what a cluster makes of us."""

from __future__ import annotations

from pathlib import Path

import anyio
import click

from ._careful import Command, Group
from ._clusters import clusters_option, kubernetes_from
from .show._lines import say, say_json


@click.group(cls=Group)
def kubernetes() -> None:
    """Look at clusters on which flows run Jobs."""


@kubernetes.command(cls=Command)
@click.argument("cluster", default="default")
@clusters_option
@click.option("--namespace", help="Where the Jobs go.  [default: the cluster's]")
@click.option("--image", default="busybox:stable", show_default=True, help="What they run; it has to have a shell.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per check, for machines.")
@click.pass_context
def check(
    context: click.Context, cluster: str, clusters: Path | None, namespace: str | None, image: str, as_json: bool
) -> None:
    """Check whether Jobs can be run on CLUSTER: a context of the usual kubeconfig, or a name in the file of clusters.

    It runs four small Jobs, and deletes them. Exit code 0 if every check passed, 1 if some did not.
    """
    host = kubernetes_from(clusters)
    if problem := host.problem(cluster):
        raise click.UsageError(problem)
    from ..scheduler.kubernetes._check import Check
    from ..scheduler.kubernetes._names import namespace_problem

    if namespace is not None and (problem := namespace_problem(namespace)):
        raise click.BadParameter(problem, param_hint="'--namespace'")

    async def look() -> bool:
        passed = True
        async with host:
            async for finding in Check(host, cluster, namespace, image).findings():
                passed = passed and finding.passed
                if as_json:
                    say_json({"check": finding.check, "passed": finding.passed, "found": finding.found})
                else:
                    say(f"{'passed' if finding.passed else 'FAILED'}  {finding.check}: {finding.found}")
        return passed

    context.exit(0 if anyio.run(look) else 1)
