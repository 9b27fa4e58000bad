"""What kubeconfigs say, and each way in which one can be wrong: told with its place, before anything has happened."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifecycle.scheduler.kubernetes import Cluster
from lifecycle.scheduler.kubernetes._client import open_client
from lifecycle.scheduler.kubernetes._credentials import Credentials, NoCredentials, load_credentials

from .places import VERSION, Certificates, encoded, kubeconfig, plugin, says

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("private")]


async def read(*files: Path, **how: Any) -> Credentials:
    """Return what kubeconfigs say, with nothing left of it in the file system."""
    credentials = await load_credentials(Cluster(kubeconfig=os.pathsep.join(map(str, files)), **how))
    credentials.discard()
    return credentials


# Several files


async def test_of_several_files_the_first_that_knows_a_name_counts(tmp_path: Path) -> None:
    """And the first current context; a file that is missing or empty says nothing (kubernetes-client/python#2180)."""
    first = tmp_path / "first"
    first.write_text(json.dumps({"users": [{"name": "one", "user": {"token": "first"}}], "clusters": None}))
    (tmp_path / "empty").write_text("")
    second = kubeconfig(tmp_path / "second", user={"token": "second"}, context={"namespace": "jobs"})
    third = kubeconfig(tmp_path / "third", name="two", server="https://two.test")
    found = await read(tmp_path / "missing", tmp_path / "empty", first, second, third)
    assert (found.token, found.namespace, found.configuration.host) == ("Bearer first", "jobs", "https://api.test:6443")
    assert (await read(first, second, third, context="two")).configuration.host == "https://two.test"
    assert (await read(third, first, second)).configuration.host == "https://two.test"


async def test_the_variable_names_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing between two colons; and without the variable it is the one of the home directory."""
    one, two = kubeconfig(tmp_path / "one"), kubeconfig(tmp_path / "two", name="two")
    monkeypatch.setenv("KUBECONFIG", f":{one}::{two}:")
    assert list(Cluster().files()) == [one, two]
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    usual = kubeconfig(tmp_path / ".kube" / "config", server="https://home.test")
    assert list(Cluster().files()) == [usual]
    found = await load_credentials(Cluster())
    found.discard()
    assert found.configuration.host == "https://home.test"


async def test_paths_are_relative_to_the_file_that_has_them(
    tmp_path: Path, files: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the certificates, of the file of a token and of a plugin's command, wherever this process is."""
    monkeypatch.chdir(tmp_path)
    for number, place in enumerate((tmp_path / "a", tmp_path / "b")):
        place.mkdir()
        (place / "ca.crt").write_bytes(files.ca_crt.read_bytes())
        (place / "token").write_text(f"of-{number}\n")
    one = kubeconfig(tmp_path / "a/config", cluster={"certificate-authority": "ca.crt"}, user={"tokenFile": "token"})
    plugin(tmp_path / "b/says", says("by the plugin"))
    spec = {"exec": {"apiVersion": VERSION, "command": "../b/says"}}
    two = kubeconfig(tmp_path / "b/config", name="two", cluster={"certificate-authority": "../b/ca.crt"}, user=spec)
    assert (await read(one, two)).token == "Bearer of-0"
    found = await read(one, two, context="two")
    assert found.token == "Bearer by the plugin"
    assert Path(found.configuration.ssl_ca_cert).samefile(tmp_path / "b/ca.crt")


async def test_a_plugin_is_asked_for_its_own_context_alone(tmp_path: Path) -> None:
    """Not for another one of the same file (sarub0b0/kubetui#897)."""
    whole = json.loads(kubeconfig(tmp_path / "config").read_text())
    user = plugin(tmp_path / "says", f"touch {tmp_path}/asked")
    whole["users"].append({"name": "two", "user": user})
    whole["contexts"].append({"name": "two", "context": {"cluster": "one", "user": "two"}})
    (tmp_path / "config").write_text(json.dumps(whole))
    await read(tmp_path / "config")
    assert not (tmp_path / "asked").exists()


# Users


async def test_of_a_token_and_a_file_of_one_the_file_counts(tmp_path: Path) -> None:
    """It is the one that is kept up to date; a line break at its end is no part of it."""
    (tmp_path / "token").write_text("of-the-file\n\n")
    found = await read(kubeconfig(tmp_path / "config", user={"token": "old", "tokenFile": "token"}))
    assert found.token == "Bearer of-the-file"


async def test_a_token_that_was_left_beside_a_plugin_does_not_count(tmp_path: Path) -> None:
    """The plugin's is the one that is valid (kubernetes/kubernetes#87369)."""
    user = {"token": "old", "tokenFile": "gone", "client-key-data": "x", **plugin(tmp_path / "says", says("new"))}
    assert (await read(kubeconfig(tmp_path / "config", user=user))).token == "Bearer new"


async def test_a_context_without_a_user_is_nobody(tmp_path: Path) -> None:
    """As with kubectl proxy."""
    found = await read(kubeconfig(tmp_path / "config", server="http://localhost:8001", context={"user": None}))
    assert found.token is None


async def test_one_user_acts_as_another(tmp_path: Path) -> None:
    """He may mostly do less, so that must not be passed over (kubernetes-client/python#362, fabric8#7951)."""
    extra = {"as-user-extra": {"scopes": ["a", "b"], "example.com/why": ["c"]}}
    user = {"token": "t", "as": "less", "as-uid": "u1", "as-groups": ["g1", "g2"], **extra}
    assert (await read(kubeconfig(tmp_path / "config", user=user))).headers == (
        ("Impersonate-User", "less"),
        ("Impersonate-Uid", "u1"),
        ("Impersonate-Group", "g1"),
        ("Impersonate-Group", "g2"),
        ("Impersonate-Extra-scopes", "a"),
        ("Impersonate-Extra-scopes", "b"),
        ("Impersonate-Extra-example.com%2Fwhy", "c"),
    )


async def test_certificates_are_the_same_as_data_and_as_files(tmp_path: Path, files: Certificates) -> None:
    """One client does for both; another key makes another client."""
    pairs = {"certificate-authority": files.ca_crt}, {"client-certificate": files.client_crt}
    cluster, certificate = ({key: str(value) for key, value in pair.items()} for pair in pairs)
    user = {**certificate, "client-key": str(files.client_key)}
    by_file = await read(kubeconfig(tmp_path / "a", cluster=cluster, user=user))
    for lines in (encoded, lambda file: base64.encodebytes(file.read_bytes()).decode()):
        data = {f"{key}-data": lines(Path(value)) for key, value in user.items()}
        authority = {"certificate-authority-data": lines(files.ca_crt)}
        by_data = await read(kubeconfig(tmp_path / "b", cluster=authority, user=data))
        assert by_data.lasting == by_file.lasting
    assert (await read(kubeconfig(tmp_path / "c", cluster=cluster))).lasting != by_file.lasting


async def test_loading_leaves_no_descriptor_and_no_file(tmp_path: Path, files: Certificates, private: Path) -> None:
    """Not after 200 times, with keys in the kubeconfig itself; and nobody else may read these meanwhile."""
    user = {"client-certificate-data": encoded(files.client_crt), "client-key-data": encoded(files.client_key)}
    file = kubeconfig(tmp_path / "config", cluster={"certificate-authority-data": encoded(files.ca_crt)}, user=user)
    before = 0
    for number in range(200):
        credentials = await load_credentials(Cluster(kubeconfig=file))
        (kept,) = private.iterdir()
        assert kept.stat().st_mode & 0o077 == 0
        credentials.discard()
        if number % 20 == 0:
            await (await open_client("c", Cluster(kubeconfig=file))).aclose()
        before = before or len(os.listdir("/proc/self/fd"))
    assert len(os.listdir("/proc/self/fd")) <= before
    assert list(private.iterdir()) == []


async def test_a_plugin_may_give_a_certificate(tmp_path: Path, files: Certificates) -> None:
    """Instead of a token (tomplus/kubernetes_asyncio#231)."""
    status = {"clientCertificateData": files.client_crt.read_text(), "clientKeyData": files.client_key.read_text()}
    (tmp_path / "said").write_text(json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": status}))
    user = plugin(tmp_path / "says", f"cat {tmp_path}/said")
    client = await open_client("c", Cluster(kubeconfig=kubeconfig(tmp_path / "config", user=user)))
    await client.aclose()


# What is wrong

Change = Callable[[dict[str, Any]], object]


def of_user(**entry: Any) -> Change:
    """Give the user other entries."""
    return lambda whole: whole["users"][0].update(user={key.replace("_", "-"): one for key, one in entry.items()})


def of_cluster(**entry: Any) -> Change:
    """Give the cluster further entries."""
    return lambda whole: whole["clusters"][0]["cluster"].update(
        {key.replace("_", "-"): one for key, one in entry.items()}
    )


def of_all(**entries: Any) -> Change:
    """Give the file other parts."""
    return lambda whole: whole.update({key.replace("_", "-"): one for key, one in entries.items()})


def certified(certificate: str, key: str | None) -> Change:
    """Give the user a certificate and a key of the test's."""

    def change(whole: dict[str, Any]) -> None:
        of_user(client_certificate=f"{{certs}}/{certificate}", client_key=f"{{certs}}/{key}" if key else None)(whole)

    return change


WRONG: dict[str, tuple[Change, str]] = {
    "no current context": (of_all(current_context=None), "it has no current context, and none is named"),
    "a context that is none": (of_all(current_context=["one"]), "current-context: expected a name"),
    "a context that is not there": (of_all(current_context="two"), "it has no context 'two'"),
    "a cluster that is not there": (of_all(clusters=None), "it has no cluster 'one'"),
    "a user that is not there": (of_all(users=[]), "it has no user 'one'"),
    "a context of no cluster": (
        lambda whole: whole["contexts"][0].update(context={"user": "one"}),
        "context 'one' names no cluster",
    ),
    "a context that says nothing": (
        lambda whole: whole["contexts"][0].pop("context"),
        "context 'one' names no cluster",
    ),
    "a context of words": (
        lambda whole: whole["contexts"][0].update(context="one"),
        "{file}: context 'one': expected a table",
    ),
    "clusters of words": (of_all(clusters="one"), "{file}: clusters: expected a list"),
    "users by name": (of_all(users={"one": {}}), "{file}: users: expected a list"),
    "an entry without a name": (of_all(users=[{"user": {}}]), "{file}: users: expected entries with a name"),
    "an entry of words": (of_all(users=["one"]), "{file}: users: expected entries with a name"),
    "a name that is a number": (of_all(users=[{"name": 1}]), "{file}: users: expected entries with a name"),
    "a user of words": (of_all(users=[{"name": "one", "user": "me"}]), "{file}: user 'one': expected a table"),
    "a cluster that is a list": (
        of_all(clusters=[{"name": "one", "cluster": []}]),
        "{file}: cluster 'one': expected a table",
    ),
    "a namespace that is none": (
        lambda whole: whole["contexts"][0]["context"].update(namespace="../secrets"),
        "{file}: context 'one': namespace: expected the name of a namespace",
    ),
    "no server": (of_cluster(server=None), "{file}: cluster 'one': server: expected https://HOST"),
    "a server without a scheme": (of_cluster(server="api.test:6443"), "{file}: cluster 'one': server: expected"),
    "a server that is a number": (of_cluster(server=6443), "{file}: cluster 'one': server: expected https://HOST"),
    "a proxy that we cannot use": (
        of_cluster(proxy_url="socks5://me:word@proxy.test"),
        "{file}: cluster 'one': proxy-url: expected http://HOST or https://HOST, got 'socks5'",
    ),
    "an authority in no base64": (
        of_cluster(certificate_authority_data="no base64 at all!"),
        "{file}: cluster 'one': certificate-authority-data: this is not in base64",
    ),
    "an authority that is a number": (
        of_cluster(certificate_authority_data=12),
        "{file}: cluster 'one': certificate-authority-data: this is not in base64",
    ),
    "an authority that is none": (
        of_cluster(certificate_authority="{certs}/garbage"),
        "{file}: cluster 'one': certificate-authority: ",
    ),
    "data that are no authority": (
        of_cluster(certificate_authority_data=base64.b64encode(b"words").decode()),
        "{file}: cluster 'one': certificate-authority: ",
    ),
    "an authority whose file is missing": (
        of_cluster(certificate_authority="gone.crt"),
        "{file}: cluster 'one': certificate-authority: there is no file {directory}/gone.crt",
    ),
    "an authority that is a table": (
        of_cluster(certificate_authority={"a": 1}),
        "{file}: cluster 'one': certificate-authority: expected a path",
    ),
    "a certificate in no base64": (
        of_user(client_certificate_data="%%%%", client_key_data="aGVsbG8="),
        "{file}: user 'one': client-certificate-data: this is not in base64",
    ),
    "a key with bad padding": (
        of_user(client_certificate_data="aGVsbG8=", client_key_data="aGVsbG8"),
        "{file}: user 'one': client-key-data: this is not in base64",
    ),
    "a certificate that is none": (
        certified("garbage", "client.key"),
        "{file}: user 'one': client-certificate and client-key cannot be used",
    ),
    "a key of another certificate": (
        certified("client.crt", "server.key"),
        "{file}: user 'one': client-certificate and client-key cannot be used",
    ),
    "a key with a password": (
        certified("client.crt", "locked.key"),
        "{file}: user 'one': client-certificate and client-key cannot be used",
    ),
    "a certificate without a key": (
        certified("client.crt", None),
        "{file}: user 'one': client-certificate and client-key cannot be used",
    ),
    "a key whose file is missing": (
        certified("client.crt", "gone.key"),
        "{file}: user 'one': client-certificate and client-key cannot be used: there is no file {certs}/gone.key",
    ),
    "a key without a certificate": (
        of_user(client_key="{certs}/client.key"),
        "{file}: user 'one': client-key goes with a client-certificate",
    ),
    "a file of a token that is missing": (
        of_user(tokenFile="gone"),
        "{file}: user 'one': tokenFile: [Errno 2] No such file or directory: '{directory}/gone'",
    ),
    "a file of a token that is empty": (
        of_user(tokenFile="/dev/null"),
        "{file}: user 'one': tokenFile: /dev/null is empty",
    ),
    "a token of two lines": (of_user(token="a\nb"), "{file}: user 'one': token: expected a token on one line"),
    "a token that is a number": (of_user(token=12), "{file}: user 'one': token: expected a token on one line"),
    "groups without a name": (
        of_user(token="t", as_groups=["g"]),
        "{file}: user 'one': as-uid, as-groups and as-user-extra need as",
    ),
    "groups that are no list": (of_user(token="t", **{"as": "x"}, as_groups="g"), "expected a list of as-groups"),
    "a name of two lines": (of_user(token="t", **{"as": "x\r\nA: b"}), "Impersonate-User: expected a text on one line"),
    "a plugin of words": (of_user(exec="aws"), "{file}: user 'one': exec: expected a table"),
    "a plugin without a command": (of_user(exec={"apiVersion": VERSION}), "exec needs a command and an apiVersion"),
    "a plugin without a version": (of_user(exec={"command": "a"}), "exec needs a command and an apiVersion"),
}


@pytest.mark.parametrize(("change", "said"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_is_told_with_its_place(
    change: Change, said: str, tmp_path: Path, files: Certificates
) -> None:
    """The file, the entry and the key; no file is left, and no client."""
    file = kubeconfig(tmp_path / "config")
    whole = json.loads(file.read_text())
    change(whole)
    file.write_text(json.dumps(whole).replace("{certs}", str(files.directory)))
    places = {"file": file, "directory": tmp_path, "certs": files.directory}
    with pytest.raises(NoCredentials) as raised:
        await open_client("c", Cluster(kubeconfig=file))
    told = str(raised.value)
    assert told.startswith(f"kubeconfig {file}: ")
    assert said.format(**places) in told
    assert "word" not in told.replace("password", "")
    assert len(told.splitlines()) == 1


BAD_FILES = {
    "no YAML": ("a: [1, 2", "config: while parsing"),
    "a list": ("[1, 2]", "config is no kubeconfig"),
    "a word": ("hello", "config is no kubeconfig"),
    "empty": ("", "it has no current context"),
    "no UTF-8": ("\udcff", "config: 'utf-8' codec"),
    "YAML of Python": ("!!python/object/apply:os.system ['true']", "config: could not determine a constructor"),
}


@pytest.mark.parametrize(("content", "said"), BAD_FILES.values(), ids=BAD_FILES)
async def test_what_is_no_kubeconfig_is_told(content: str, said: str, tmp_path: Path) -> None:
    """With its path, on one line."""
    file = tmp_path / "config"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(NoCredentials) as raised:
        await read(file)
    assert said in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


async def test_no_file_at_all_is_told_with_where_it_was_looked_for(tmp_path: Path) -> None:
    """Of several each one (tomplus/kubernetes_asyncio#126); a directory is none."""
    with pytest.raises(NoCredentials, match=f"kubeconfig {tmp_path}/a:{tmp_path}: there is no such file"):
        await read(tmp_path / "a", tmp_path)


async def test_a_home_directory_of_nobody_is_a_file_that_is_not_there() -> None:
    """And no other error."""
    with pytest.raises(NoCredentials, match="kubeconfig ~nobody-of-this-name/config: there is no such file"):
        await load_credentials(Cluster(kubeconfig="~nobody-of-this-name/config"))
