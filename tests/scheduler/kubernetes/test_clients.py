"""Clients: tokens that expire and rotate, configurations that change, and whom a token is never shown to."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web

from lifecycle.scheduler.kubernetes import Cluster, Kubernetes, _client, _cluster, _credentials
from lifecycle.scheduler.kubernetes._client import Client, ClientStale, open_client
from lifecycle.scheduler.kubernetes._credentials import NoCredentials
from lifecycle.scheduler.kubernetes._faults import ApiError
from lifecycle.scheduler.kubernetes._watch import Watch

from .places import Certificates, encoded, kubeconfig, plugin, says, served_with, serving

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("private")]


def wants(*tokens: str, status: int = 401) -> Callable[[web.BaseRequest], Any]:
    """Let the one through who shows one of these tokens."""

    def answer(request: web.BaseRequest) -> int:
        return 200 if request.headers.get("Authorization") in [f"Bearer {token}" for token in tokens] else status

    return answer


def counting(directory: Path, script: str = "") -> dict[str, Any]:
    """Return a user of a plugin that says ``told-1``, ``told-2`` and so on."""
    count = f"echo x >> {directory}/runs; n=$(wc -l < {directory}/runs)"
    said = f"said=$( {script or says('told-N')}) || exit"
    return plugin(directory / "says", f'{count}; {said}; echo "$said" | sed s/told-N/told-$((n))/')


def runs(directory: Path) -> int:
    """Return how often that plugin has run."""
    file = directory / "runs"
    return len(file.read_text().splitlines()) if file.exists() else 0


@asynccontextmanager
async def client_of(file: Path, **how: Any) -> AsyncIterator[Client]:
    """Give a client of a kubeconfig."""
    client = await open_client("c", Cluster(kubeconfig=file, **how))
    try:
        yield client
    finally:
        await client.aclose()


def rewritten(file: Path, content: str) -> None:
    """Write a file anew, so that its stamp is another one however short the time since it was written last."""
    before = file.stat().st_mtime_ns
    file.write_text(content)
    os.utime(file, ns=(before + 1_000_000, before + 1_000_000))


# Tokens


async def test_a_token_that_has_expired_is_renewed_once_and_the_request_made_again(tmp_path: Path) -> None:
    """Whoever asks does not notice (airflow#32718)."""
    async with serving(wants("told-2")) as server:
        user = counting(tmp_path)
        async with client_of(kubeconfig(tmp_path / "config", server=server.address, user=user)) as client:
            assert await client.request("GET", "/x") == {}
            assert await client.request("POST", "/x", body={"a": 1}) == {}
    assert server.tokens == ["told-1", "told-2", "told-2"]
    assert runs(tmp_path) == 2


async def test_a_401_that_stays_is_tried_once_more_and_no_more(tmp_path: Path) -> None:
    """For each request that is made; its refusal comes to light."""
    async with serving(wants("another")) as server:
        file = kubeconfig(tmp_path / "config", server=server.address, user=counting(tmp_path))
        async with client_of(file) as client:
            with pytest.raises(ApiError) as raised:
                await client.request("GET", "/x")
    assert raised.value.status == 401
    assert server.tokens == ["told-1", "told-2"]


async def test_a_403_is_not_the_tokens_fault(tmp_path: Path) -> None:
    """So nothing is renewed, and nothing asked again."""
    async with serving(wants("another", status=403)) as server:
        file = kubeconfig(tmp_path / "config", server=server.address, user=counting(tmp_path))
        async with client_of(file) as client:
            with pytest.raises(ApiError) as raised:
                await client.request("GET", "/x")
    assert raised.value.status == 403
    assert server.tokens == ["told-1"]
    assert runs(tmp_path) == 1


async def test_many_that_meet_the_same_end_of_a_token_renew_it_once(tmp_path: Path) -> None:
    """Requests and streams alike."""
    both = asyncio.Barrier(10)

    async def answer(request: web.BaseRequest) -> int:
        if request.headers["Authorization"] == "Bearer told-1":
            await both.wait()  # all of them have been sent with the old one
            return 401
        return 200

    async with serving(answer) as server:
        file = kubeconfig(tmp_path / "config", server=server.address, user=counting(tmp_path))
        async with client_of(file) as client, anyio.create_task_group() as tasks:
            for _ in range(9):
                tasks.start_soon(client.request, "GET", "/x")
            async with client.stream("/stream", {}, silence=None) as pieces:
                assert b"".join([piece async for piece in pieces]) == b"{}"
    assert runs(tmp_path) == 2
    assert sorted(server.tokens) == ["told-1"] * 10 + ["told-2"] * 10


async def test_a_plugin_that_fails_is_not_run_for_each_who_waits(tmp_path: Path) -> None:
    """They get the same error: a hundred requests must not each start a process (kubernetes/kubectl#1492)."""
    both = asyncio.Barrier(10)

    async def answer(_request: web.BaseRequest) -> int:
        await both.wait()
        return 401

    script = f"test $n = 1 || {{ echo no login >&2; exit 1; }}; {says()}"
    async with serving(answer) as server:
        file = kubeconfig(tmp_path / "config", server=server.address, user=counting(tmp_path, script))
        async with client_of(file) as client:
            asked = [client.request("GET", "/x") for _ in range(10)]
            ends = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(end) for end in ends} == {NoCredentials}
    assert all("ended with 1: no login" in str(end) for end in ends)
    assert runs(tmp_path) == 2


async def test_after_a_failure_the_files_are_left_alone_until_they_change(tmp_path: Path) -> None:
    """A kubeconfig that is being written does not let a plugin run with each request."""
    async with serving(wants("told-1", "told-3")) as server:
        file = kubeconfig(tmp_path / "config", server=server.address, user=counting(tmp_path))
        async with client_of(file) as client:
            script = (tmp_path / "says").read_text()
            (tmp_path / "says").write_text(f"{script}exit 1\n")
            rewritten(file, file.read_text() + " ")
            for _ in range(5):
                await client.request("GET", "/x")  # with the token that is still good
            assert runs(tmp_path) == 2
            (tmp_path / "says").write_text(script)
            rewritten(file, file.read_text() + " ")
            await client.request("GET", "/x")
    assert runs(tmp_path) == 3
    assert server.tokens[-1] == "told-3"


async def test_a_token_is_renewed_before_it_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the plugin has said when; nobody has to be refused for it."""
    now = [1000.0]
    monkeypatch.setattr(_credentials.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(_credentials.time, "time", lambda: 1_796_083_200.0)
    async with serving(wants("told-1", "told-2")) as server:
        user = counting(tmp_path, says("told-N", expirationTimestamp="2026-12-01T00:01:00Z"))  # in a minute
        async with client_of(kubeconfig(tmp_path / "config", server=server.address, user=user)) as client:
            await client.request("GET", "/x")
            now[0] += 49.0
            await client.request("GET", "/x")
            assert runs(tmp_path) == 1
            now[0] += 1.0
            await client.request("GET", "/x")
    assert server.tokens == ["told-1", "told-1", "told-2"]


async def test_a_clock_that_is_wrong_runs_no_plugin_for_each_request(tmp_path: Path) -> None:
    """By ours each of its tokens has expired long ago; the server takes them."""
    async with serving(wants("told-1")) as server:
        user = counting(tmp_path, says("told-N", expirationTimestamp="2001-01-01T00:00:00Z"))
        async with client_of(kubeconfig(tmp_path / "config", server=server.address, user=user)) as client:
            for _ in range(5):
                await client.request("GET", "/x")
    assert runs(tmp_path) == 1


@pytest.mark.parametrize("how", ["cancelled", "out of time"])
async def test_a_request_that_ends_while_a_plugin_runs_lets_the_next_one_ask(how: str, tmp_path: Path) -> None:
    """The lock is free, and the plugin gone."""
    async with serving(wants("told-3")) as server:
        script = f"(test $n != 2 || {{ touch {tmp_path}/hangs; exec sleep 1000; }}; {says('told-N')})"
        file = kubeconfig(tmp_path / "config", server=server.address, user=counting(tmp_path, script))
        async with client_of(file, timeout=0.5 if how == "out of time" else 60.0) as client:
            asking = asyncio.create_task(client.request("GET", "/x"))
            while not (tmp_path / "hangs").exists():
                await asyncio.sleep(0.005)
            if how == "cancelled":
                asking.cancel()
            with pytest.raises((asyncio.CancelledError, TimeoutError)):
                await asking
            client.cluster = Cluster(kubeconfig=file)  # with its usual patience
            assert await client.request("GET", "/x") == {}
    assert server.tokens[-1] == "told-3"


async def test_a_file_of_a_token_that_rotates_needs_no_new_client(tmp_path: Path) -> None:
    """The next request has the new one, before the old one is refused (inspect_k8s_sandbox#179)."""
    (tmp_path / "token").write_text("first")
    async with serving(wants("first", "second")) as server:
        file = kubeconfig(tmp_path / "config", server=server.address, user={"tokenFile": "token"})
        async with client_of(file) as client:
            await client.request("GET", "/x")
            rewritten(tmp_path / "token", "second\n")
            assert await client.is_current()
            await client.request("GET", "/x")
    assert server.tokens == ["first", "second"]


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Certificates) -> Path:
    """The directory of a service account, in a pod whose API server is somewhere."""
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("first\n")
    (account / "ca.crt").write_bytes(files.ca_crt.read_bytes())
    (account / "namespace").write_text("of-the-pod\n")
    for module in (_cluster, _credentials):
        monkeypatch.setattr(module, "SERVICE_ACCOUNT", account)
    from kubernetes_asyncio.config import incluster_config

    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(account / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(account / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "localhost")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    return account


async def test_the_token_of_a_pod_that_rotates_is_read_when_the_old_one_is_refused(
    pod: Path, monkeypatch: pytest.MonkeyPatch, files: Certificates
) -> None:
    """By the same client; its file says nothing before."""
    valid = ["first"]
    async with serving(lambda request: wants(*valid)(request), served_with()) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", server.address.rpartition(":")[2])
        client = await open_client("c", Cluster(in_cluster=True))
        try:
            assert client.namespace == "of-the-pod"
            await client.request("GET", "/x")
            (pod / "token").write_text("second\n")
            valid[:] = ["second"]
            await client.request("GET", "/x")
        finally:
            await client.aclose()
    assert server.tokens == ["first", "first", "second"]


POD_WRONG = {
    "no token": (lambda pod: (pod / "token").unlink(), "does not run in a pod that has one"),
    "an empty token": (lambda pod: (pod / "token").write_text(""), "Token file exists but empty"),
    "no authority": (lambda pod: (pod / "ca.crt").unlink(), "Service certification file does not exist"),
    "an authority of words": (lambda pod: (pod / "ca.crt").write_text("words"), "certificate"),
}


@pytest.mark.parametrize(("change", "said"), POD_WRONG.values(), ids=POD_WRONG)
async def test_what_is_wrong_in_a_pod_is_told(change: Callable[[Path], object], said: str, pod: Path) -> None:
    """Of the service account, and no client is left."""
    change(pod)
    with pytest.raises(NoCredentials, match=said):
        await open_client("c", Cluster(in_cluster=True))


async def test_a_certificate_that_changes_at_the_wrong_moment_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Certificates
) -> None:
    """It was right when it was looked at, and is not when the client is made of it: that is an error of the files."""
    cluster = {"certificate-authority-data": encoded(files.ca_crt)}
    file = kubeconfig(tmp_path / "config", cluster=cluster)

    def made(configuration: Any, **_how: Any) -> None:
        Path(configuration.ssl_ca_cert).write_text("words")
        ssl.create_default_context(cafile=configuration.ssl_ca_cert)

    monkeypatch.setattr(_client, "RESTClientObject", made)
    with pytest.raises(NoCredentials, match="cluster 'c': "):
        await open_client("c", Cluster(kubeconfig=file))


async def test_outside_of_a_pod_there_is_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """And that is said."""
    with pytest.raises(NoCredentials, match="of this pod: this process does not run in a pod that has one"):
        await open_client("c", Cluster(in_cluster=True))


async def test_as_whom_a_user_acts_goes_with_each_request(tmp_path: Path) -> None:
    """Each group in a header of its own."""
    user = {"token": "t", "as": "less", "as-groups": ["g1", "g2"]}
    async with (
        serving(lambda _: {}) as server,
        client_of(kubeconfig(tmp_path / "config", server=server.address, user=user)) as client,
    ):
        await client.request("GET", "/x")
    (asked,) = server.asked
    assert asked.headers["Impersonate-User"] == "less"
    assert asked.headers.getall("Impersonate-Group") == ["g1", "g2"]


# Changes while clients are lent out


async def test_a_change_makes_a_new_client_and_the_old_one_goes_when_nobody_has_it(tmp_path: Path) -> None:
    """Never while it is used: a stream of the old one goes on to its end."""
    async with serving(lambda _: {}) as old, serving(lambda _: {}) as new:
        file = kubeconfig(tmp_path / "config", server=old.address)
        async with Kubernetes({"c": Cluster(kubeconfig=file)}) as kubernetes:
            async with kubernetes.client("c") as first, kubernetes.client("c") as same:
                assert first is same
                rewritten(file, file.read_text().replace(old.address, new.address))
                async with kubernetes.client("c") as second:
                    assert second is not first
                    await second.request("GET", "/x")
                    with pytest.raises(ClientStale):
                        await first.request("GET", "/x")
                    assert not first._session.closed
                    told = kubernetes.statistics()
                    assert (told.opened, told.closed, told.clients, told.leases) == (2, 0, 2, 3)
            async with kubernetes.client("c") as third:
                assert third is second
            while not first._session.closed:
                await asyncio.sleep(0.005)
            assert not second._session.closed
        assert second._session.closed
    assert (len(old.asked), len(new.asked)) == (0, 1)


async def test_a_token_that_changes_makes_no_new_client(tmp_path: Path) -> None:
    """Nor does another namespace, nor a comment."""
    async with serving(wants("a", "b")) as server:
        file = kubeconfig(tmp_path / "config", server=server.address, user={"token": "a"})
        async with Kubernetes({"c": Cluster(kubeconfig=file)}) as kubernetes:
            async with kubernetes.client("c") as first:
                await first.request("GET", "/x")
            rewritten(file, file.read_text().replace('"token": "a"', '"token": "b"'))
            async with kubernetes.client("c") as second:
                await second.request("GET", "/x")
            assert first is second
    assert server.tokens == ["a", "b"]


async def test_a_file_that_is_gone_for_a_moment_changes_nothing(tmp_path: Path) -> None:
    """Nor one that is half written: somebody is about to write it."""
    async with serving(wants("secret")) as server:
        file = kubeconfig(tmp_path / "config", server=server.address)
        whole = file.read_text()
        async with client_of(file) as client:
            file.unlink()
            await client.request("GET", "/x")
            file.write_text(whole[:40])
            await client.request("GET", "/x")
            file.write_text(whole)
            assert await client.is_current()
    assert server.tokens == ["secret", "secret"]


# Whom a token is shown to


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["/elsewhere", "other"])
async def test_a_redirection_is_never_followed(status: int, where: str, tmp_path: Path) -> None:
    """Not to another host, and not to the same: an API server has none; the token is for it alone."""
    async with serving(lambda _: {}) as other:
        target = f"{other.address}/elsewhere" if where == "other" else where
        headers = {"Location": target}
        async with (
            serving(lambda _: web.Response(status=status, headers=headers)) as server,
            client_of(kubeconfig(tmp_path / "config", server=server.address)) as client,
        ):
            with pytest.raises(ApiError) as raised:
                await client.request("GET", "/x")
            with pytest.raises(ApiError):
                async with client.stream("/y", {}, silence=None):
                    raise AssertionError("it was followed")
    assert raised.value.status == status
    assert [request.path for request in server.asked] == ["/x", "/y"]
    assert other.asked == []


async def test_what_is_no_address_is_no_crash(tmp_path: Path) -> None:
    """Of a server that kubeconfig's own check lets through."""
    async with client_of(kubeconfig(tmp_path / "config", server="http://a b:port")) as client:
        told = await asyncio.gather(client.request("GET", "/x"), return_exceptions=True)
    assert isinstance(told[0], ConnectionError)


async def test_a_watch_outlives_the_end_of_its_token(tmp_path: Path) -> None:
    """And its kubeconfig's plugin failing for a while: it asks again, with pauses."""
    said: list[Any] = []
    listed = asyncio.Event()

    async with serving(wants("told-3")) as server:
        script = f"(test $n != 2 || exit 1; {says('told-N')})"
        file = kubeconfig(tmp_path / "config", server=server.address, user=counting(tmp_path, script))
        server.answer = lambda request: (
            {"metadata": {"resourceVersion": "1"}, "items": []} if wants("told-3")(request) == 200 else 401
        )
        async with client_of(file) as client, anyio.create_task_group() as tasks:
            watch = Watch(client, "/x", "", replace=lambda _: listed.set(), change=lambda *_: None, tell=said.append)
            tasks.start_soon(watch.run)
            await listed.wait()
            tasks.cancel_scope.cancel()
    assert isinstance(said[0], NoCredentials)
    assert runs(tmp_path) == 3
