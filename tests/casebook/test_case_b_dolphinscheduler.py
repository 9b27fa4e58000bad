"""Case B, DolphinScheduler: the Kubernetes client that only a kill released.

Its cache had a client for each task, and only the kill of a task removed one. The fix removed it however a task ended,
and a task still had one of its own. Others kept one for each cluster, and closed it when it was evicted, under
whoever used it. Each is here in miniature; one test finds what is wrong with each, and nothing with ours. The storm of
`tests/kubernetes/jobs/test_case_b.py` does the same to the scheduler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes_asyncio")

from tests.kubernetes.storm.servers import servers

from .kubernetes_clients import (
    Account,
    AsItWas,
    Clients,
    ClosedOnEviction,
    Leased,
    Mended,
    configuration_of,
    run_jobs,
)

KINDS: list[Callable[[Any], Clients]] = [Leased, AsItWas, Mended, ClosedOnEviction]


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Account]:
    """What the same jobs have shown with each way to get clients, one after another on the same server."""
    directory = tmp_path_factory.mktemp("case-b")

    async def run() -> dict[Any, Account]:
        async with servers(directory, doubles=1) as (server,):
            return {kind: await account_of(kind, server.kubeconfig) for kind in KINDS}

    return asyncio.run(run())


async def account_of(kind: Callable[[Any], Clients], kubeconfig: Path, jobs: int = 40) -> Account:
    """Run jobs with one kind, and return what that has shown."""
    async with kind(configuration_of(kubeconfig)) as clients:
        account = await run_jobs(clients, jobs)
        if isinstance(clients, AsItWas):
            await clients.kill_all()
    return account


def test_clients_of_clusters_that_are_leased_leave_nothing(accounts: dict[Any, Account]) -> None:
    """Jobs of every end on three clusters: three clients at most, none of them closed in use, none left."""
    assert accounts[Leased].problems == set()


def test_the_original_keeps_a_client_for_each_task_that_was_not_killed(accounts: dict[Any, Account]) -> None:
    """The same jobs find them, and their descriptors."""
    account = accounts[AsItWas]
    assert account.problems == {"more clients than clusters", "clients are left", "descriptors are left"}
    assert account.left == 32  # of 40, of which 8 were killed


def test_its_fix_still_makes_a_client_for_each_task(accounts: dict[Any, Account]) -> None:
    """Nothing is left, and as many live at once as there are jobs."""
    assert accounts[Mended].problems == {"more clients than clusters"}


def test_a_client_that_is_closed_when_it_is_evicted_disturbs_who_uses_it(accounts: dict[Any, Account]) -> None:
    """There are few, and jobs break off."""
    assert "jobs were disturbed" in accounts[ClosedOnEviction].problems
