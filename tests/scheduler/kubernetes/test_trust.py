"""Servers that prove who they are, or do not, and proxies: what is said to whom, and how it is told when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from lifecycle.scheduler.kubernetes import Cluster, KubernetesJob, job_manifest
from lifecycle.scheduler.kubernetes._client import NotConnected, NotTrusted, open_client
from lifecycle.scheduler.kubernetes._creating import Creating
from lifecycle.scheduler.kubernetes._faults import ApiError
from lifecycle.scheduler.remote import RemoteFailed, Ticket

from .places import Certificates, encoded, kubeconfig, served_with, serving

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("private")]

TICKET = Ticket("work-1", "0123456789", None, 1, 1, 1, "work")


async def ask(file: Path, path: str = "/x") -> dict[str, Any]:
    """Ask for something as a kubeconfig says."""
    client = await open_client("c", Cluster(kubeconfig=file))
    try:
        return await client.request("GET", path)
    finally:
        await client.aclose()


def by(authority: Path, **more: Any) -> dict[str, Any]:
    """Return what a cluster says of its authority."""
    return {"certificate-authority-data": encoded(authority), **more}


async def test_a_server_of_our_authority_is_trusted(tmp_path: Path, files: Certificates) -> None:
    """By data and by file."""
    async with serving(lambda _: {}, served_with()) as server:
        await ask(kubeconfig(tmp_path / "a", server=server.address, cluster=by(files.ca_crt)))
        file = {"certificate-authority": str(files.ca_crt)}
        await ask(kubeconfig(tmp_path / "b", server=server.address, cluster=file))
    assert server.tokens == ["secret", "secret"]


async def test_a_server_of_another_authority_gets_nothing(tmp_path: Path, files: Certificates) -> None:
    """And it is told why."""
    async with serving(lambda _: {}, served_with()) as server:
        with pytest.raises(NotTrusted, match=r"cluster 'c': GET /x: .*certificate verify failed") as raised:
            await ask(kubeconfig(tmp_path / "a", server=server.address, cluster=by(files.other_crt)))
    assert isinstance(raised.value, (NotConnected, PermissionError))
    assert server.asked == []


async def test_a_server_of_another_name_gets_nothing(tmp_path: Path, files: Certificates) -> None:
    """Unless the kubeconfig says which name it has (kubernetes.core#777)."""
    async with serving(lambda _: {}, served_with(), host="127.0.0.1") as server:
        with pytest.raises(NotTrusted, match=r"certificate is not valid for '127\.0\.0\.1'"):
            await ask(kubeconfig(tmp_path / "a", server=server.address, cluster=by(files.ca_crt)))
        assert server.asked == []
        named = by(files.ca_crt, **{"tls-server-name": "api.test"})
        await ask(kubeconfig(tmp_path / "b", server=server.address, cluster=named))
        wrong = by(files.ca_crt, **{"tls-server-name": "other.test"})
        with pytest.raises(NotTrusted, match=r"not valid for 'other\.test'"):
            await ask(kubeconfig(tmp_path / "c", server=server.address, cluster=wrong))
    assert len(server.asked) == 1


async def test_a_server_is_not_looked_at_if_that_is_said(tmp_path: Path, files: Certificates) -> None:
    """Also with a client's certificate and without an authority (kr8s#233)."""
    user = {"client-certificate-data": encoded(files.client_crt), "client-key-data": encoded(files.client_key)}
    insecure = {"insecure-skip-tls-verify": True}
    shown = []

    def answer(request: web.BaseRequest) -> None:
        shown.append(request.get_extra_info("peercert")["subject"])

    async with serving(answer, served_with(wants_client=True), host="127.0.0.1") as server:
        await ask(kubeconfig(tmp_path / "a", server=server.address, cluster=insecure, user=user))
    assert shown == [((("commonName", "client"),),)]


async def test_a_client_without_the_certificate_that_is_wanted_is_told(tmp_path: Path, files: Certificates) -> None:
    """As an error of the connection: the server's word for it comes too late, or not."""
    async with serving(lambda _: {}, served_with(wants_client=True)) as server:
        with pytest.raises(ConnectionError, match="cluster 'c': GET /x: "):
            await ask(kubeconfig(tmp_path / "a", server=server.address, cluster=by(files.ca_crt)))
    assert server.asked == []


async def test_a_server_without_tls_is_told(tmp_path: Path, files: Certificates) -> None:
    """It is asked for TLS; and one that wants TLS is told too."""
    async with serving(lambda _: {}) as plain, serving(lambda _: {}, served_with()) as secret:
        address = plain.address.replace("http:", "https:")
        with pytest.raises(NotConnected, match=r"(?i)ssl"):
            await ask(kubeconfig(tmp_path / "a", server=address, cluster=by(files.ca_crt)))
        with pytest.raises(ConnectionError):
            await ask(kubeconfig(tmp_path / "b", server=secret.address.replace("https:", "http:")))
    assert plain.asked == secret.asked == []


async def test_a_job_is_refused_at_once_where_the_server_is_not_trusted(tmp_path: Path, files: Certificates) -> None:
    """Nothing was sent, so there is none; asking for two minutes would not mend it."""
    manifest = KubernetesJob(manifest=job_manifest("image")).named(TICKET, "n")
    async with serving(lambda _: {}, served_with()) as server:
        file = kubeconfig(tmp_path / "a", server=server.address, cluster=by(files.other_crt))
        client = await open_client("c", Cluster(kubeconfig=file))
        creating = Creating(client, TICKET, "n", manifest, 60.0, lambda _: None)
        try:
            with pytest.raises(RemoteFailed, match="certificate verify failed"):
                await creating.make()
            assert not creating.sent
            with pytest.raises(NotTrusted):
                await client.ask("GET", "/x", patience=60.0)
        finally:
            await client.aclose()


# Proxies


class Proxy:
    """A proxy for connections; it leads each to the same place, and keeps what it was asked for."""

    def __init__(self, target: str) -> None:
        self.asked: list[str] = []
        self._port = int(target.rpartition(":")[2])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Lead one connection on."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            if not head.startswith("CONNECT"):
                writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
                return
            there = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(b"HTTP/1.1 200 Yes\r\n\r\n")
            await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def proxied(target: str) -> AsyncIterator[tuple[str, Proxy]]:
    """Give the address of a proxy, and the proxy."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", proxy
    finally:
        server.close()


async def test_the_proxy_of_a_kubeconfig_is_used(
    tmp_path: Path, files: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before that of the environment, and whatever that leaves out (kr8s#704); it never sees the token."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    async with serving(lambda _: {}, served_with()) as server, proxied(server.address) as (address, proxy):
        cluster = by(files.ca_crt, **{"proxy-url": address})
        await ask(kubeconfig(tmp_path / "a", server=server.address, cluster=cluster))
    assert server.tokens == ["secret"]
    (head,) = proxy.asked
    assert head.startswith(f"CONNECT localhost:{server.address.rpartition(':')[2]} ")
    assert "secret" not in head


async def test_a_name_of_the_server_holds_through_a_proxy(tmp_path: Path, files: Certificates) -> None:
    """It is the server's certificate that counts, by the name that the kubeconfig gives."""
    serve = serving(lambda _: {}, served_with(), host="127.0.0.1")
    async with serve as server, proxied(server.address) as (address, _):
        cluster = by(files.ca_crt, **{"proxy-url": address, "tls-server-name": "api.test"})
        await ask(kubeconfig(tmp_path / "a", server=server.address, cluster=cluster))
        wrong = {**cluster, "tls-server-name": "other.test"}
        with pytest.raises(NotTrusted, match=r"not valid for 'other\.test'"):
            await ask(kubeconfig(tmp_path / "b", server=server.address, cluster=wrong))
    assert len(server.asked) == 1


async def test_the_proxy_of_the_environment_is_used_but_for_what_it_leaves_out(
    tmp_path: Path, files: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name, as other programs do it."""
    async with serving(lambda _: {}, served_with()) as server, proxied(server.address) as (address, proxy):
        file = kubeconfig(tmp_path / "a", server=server.address, cluster=by(files.ca_crt))
        monkeypatch.setenv("HTTPS_PROXY", address)
        await ask(file)
        assert len(proxy.asked) == 1
        monkeypatch.setenv("NO_PROXY", "other.test,localhost")
        await ask(file)
        assert len(proxy.asked) == 1
    assert server.tokens == ["secret", "secret"]


async def test_a_proxy_that_refuses_or_is_not_there_is_told(tmp_path: Path) -> None:
    """And what is no proxy that can be used is no crash either."""
    async with serving(lambda _: {}) as server, proxied(server.address) as (address, _):
        refuses = {"proxy-url": address}
        with pytest.raises(ApiError) as raised:  # without TLS a proxy answers in the server's place
            await ask(kubeconfig(tmp_path / "a", server=server.address, cluster=refuses))
        assert raised.value.status == 403
        with pytest.raises(NotConnected, match=r"127\.0\.0\.1:1"):
            await ask(kubeconfig(tmp_path / "b", server=server.address, cluster={"proxy-url": "http://127.0.0.1:1"}))
    assert server.asked == []


@pytest.mark.parametrize("proxy", ["socks5://proxy.test", "proxy.test", "http://[", "::"])
async def test_a_proxy_of_the_environment_that_cannot_be_used_is_no_crash(
    proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Certificates
) -> None:
    """It is passed over, or it is an error of the connection."""
    async with serving(lambda _: {}, served_with()) as server:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        file = kubeconfig(tmp_path / "a", server=server.address, cluster=by(files.ca_crt))
        try:
            await ask(file)
        except OSError as error:
            told = str(error)
        else:
            told = "cluster 'c': GET /x: is answered"
    assert told.startswith("cluster 'c': GET /x: ")
