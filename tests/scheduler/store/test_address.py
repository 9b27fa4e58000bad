"""Addresses of databases: what they mean, what is refused, and that no secret in one is ever shown."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lifecycle.scheduler import StoreError
from lifecycle.scheduler._store.postgres import driver
from lifecycle.scheduler._store.postgres.address import Address, is_postgres
from lifecycle.scheduler._store.postgres.address_syntax import PARAMETERS, join, split

VARIABLES = (
    "PGHOST",
    "PGPORT",
    "PGUSER",
    "PGDATABASE",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSSLMODE",
    "PGTARGETSESSIONATTRS",
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def as_asyncpg_has_it(**arguments: Any) -> Any:
    """Return where asyncpg would connect to, as whom, and with which settings."""
    utils = pytest.importorskip("asyncpg.connect_utils")
    names = inspect.signature(utils._parse_connect_dsn_and_args).parameters
    arguments.pop("timeout", None)
    addresses, parameters = utils._parse_connect_dsn_and_args(**{**dict.fromkeys(names), **arguments})
    settings = {k: v for k, v in (parameters.server_settings or {}).items() if k != "application_name"}
    return addresses, parameters._replace(ssl=bool(parameters.ssl), server_settings=settings)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://h/db",
        "postgres://u:p@h:5433/db",
        "postgresql://u:p%40%2F%3F%23@h/d%20b",
        "postgresql://u:p:q@h/db",
        "postgresql://u@h",
        "postgresql://u@h:5433,i:5434/db?target_session_attrs=any",
        "postgresql://u@h:5433,i/db?target_session_attrs=primary",
        "postgresql://u@[::1]:5433/db",
        "postgresql://u@%2Frun%2Fdb/db",
        "postgresql:///db?host=/run/db&port=5433&user=u",
        "postgresql:///db?host=/run/db,/tmp&user=u&target_session_attrs=any",
        "postgresql://u@h/db?sslmode=prefer&sslnegotiation=postgres&ssl_min_protocol_version=TLSv1.3",
        "postgresql://h?dbname=d&user=u&password=p",
        "postgresql://u@h/db?options=-c%20work_mem=1MB&krbsrvname=pg&gsslib=sspi",
        "postgresql://u@h?database=d",
    ],
)
def test_an_address_is_what_asyncpg_takes_it_for(text: str) -> None:
    """Taken to pieces here and handed over as arguments, it leads where the text itself leads."""
    assert as_asyncpg_has_it(**Address.parse(text).arguments()) == as_asyncpg_has_it(dsn=text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("postgresql:/h/db", "it has to begin with postgresql://"),
        ("postgresql+asyncpg://h/db", "it has to begin with postgresql://"),
        ("postgresql://h /db", "write %20"),
        ("postgresql://h/db\n", "control character"),
        ("postgresql://u:secret#@h/db", "write %23"),
        ("postgresql://u:secret@x@h/db", "write %40"),
        ("postgresql://u:secret/x@h/db", "%2F for '/'"),
        ("postgresql://u:secret?x@h/db", "%3F for '?'"),
        ("postgresql://u:secret", "after user:password there has to be '@'"),
        ("postgresql://u:123456/db", "a port is a number from 1 to 65535"),
        ("postgresql://h:0/db", "a port is a number from 1 to 65535"),
        ("postgresql://h:65536/db", "a port is a number from 1 to 65535"),
        ("postgresql://h:\u0663/db", "a port is a number from 1 to 65535"),
        ("postgresql://h,,i/db", "an empty host"),
        ("postgresql://h,:1/db", "an empty host"),
        ("postgresql://[::1/db", "an IPv6 address is written"),
        ("postgresql://[secret]:1/db", "an IPv6 address is written"),
        ("postgresql://[::1]1/db", "an IPv6 address is written"),
        ("postgresql://h:1,i:2/db?port=3", "port is given twice"),
        ("postgresql://h,i/db?port=1,2,3", "3 ports for 2 hosts"),
        ("postgresql://h/db?host=i", "host is given twice"),
        ("postgresql:///db?host=a:1", "an IPv6 address is written"),
        ("postgresql:///db?host=a%2Fb", "a host is a name"),
        ("postgresql://h/a/b", "in the name of the database"),
        ("postgresql://h/db?dbname=x", "dbname is given twice"),
        ("postgresql://u:secret@h/db?password=secret", "password is given twice"),
        ("postgresql://h/db?sslmod=require", "no parameter 'sslmod' here; did you mean 'sslmode'?"),
        ("postgresql://h/db?channel_binding=require", "no parameter 'channel_binding' here"),
        ("postgresql://h/db?sslmode=maybe", "sslmode is one of disable, allow, prefer, require"),
        ("postgresql://h/db?sslrootcert=system", "sslrootcert=system is not understood: name the file"),
        ("postgresql://h/db?target_session_attrs=standby", "is one of any, primary, read-write"),
        ("postgresql://h/db?connect_timeout=soon", "connect_timeout is a number of seconds"),
        ("postgresql://h/db?connect_timeout=0", "connect_timeout is a number of seconds"),
        ("postgresql://h/db?sslmode", "NAME=VALUE"),
        ("postgresql://h/db?SSLMODE=require", "NAME=VALUE"),
        ("postgresql://h/db?user=", "user: it is empty"),
        ("postgresql://h/d%zzb", "dbname: after a '%'"),
        ("postgresql://h/d%ffb", "dbname: it is not UTF-8"),
        ("postgresql://h/d%00b", "dbname: there is a control character"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, why: str) -> None:
    """The message says what to write instead, and has no part of what may be a password."""
    with pytest.raises(ValueError) as refused:
        Address.parse(text)
    assert why in str(refused.value)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_what_is_no_text_is_refused() -> None:
    """A path is none, even one that was made of an address."""
    with pytest.raises(TypeError, match="must be a string, got PosixPath"):
        Address.parse(Path("postgresql://h/db"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("store", "meant"),
    [
        ("postgresql://h/db", True),
        ("postgres:///db", True),
        ("PostgreSQL://h/db", True),
        ("postgresql+asyncpg://h/db", True),
        ("postgresql:/h/db", True),
        (Path("postgresql://h/db"), True),
        ("postgres.sqlite", False),
        ("./postgresql://h/db", False),
        ("mysql://h/db", False),
        (b"postgresql://h/db", False),
        (None, False),
        (7, False),
    ],
)
def test_what_is_meant_as_an_address(store: object, meant: bool) -> None:
    """What is nearly one is meant as one: it is refused as such and makes no strange file."""
    assert is_postgres(store) is meant


names = st.text(st.characters(exclude_categories=("C", "Z"), codec="utf-8"), min_size=1, max_size=12)
ports = st.none() | st.integers(1, 65_535)
words = st.from_regex(r"[a-z0-9.-]{1,12}", fullmatch=True)
networks = st.lists(st.tuples(words | st.ip_addresses(v=6).map(str), ports), max_size=3)
sockets = st.lists(st.tuples(names.map(lambda name: f"/{name.replace(',', '')}"), ports), min_size=1, max_size=2)
hosts = st.one_of(networks, sockets, ports.filter(bool).map(lambda port: [("", port)])).map(tuple)
texts = [
    name for name, allowed in PARAMETERS.items() if not allowed and name not in ("host", "port", "connect_timeout")
]
values = st.fixed_dictionaries({}, optional=dict.fromkeys(texts, names))


@given(hosts, values)
@example((("::1", 1), ("h", None)), {"user": "ü@/?#%&=+,:", "password": "ü@/?#%&=+,:", "options": "ü@/?#%&=+,:"})
def test_what_was_put_together_is_taken_apart_again(hosts: Any, values: dict[str, str]) -> None:
    """Whatever is in a name, a password or a parameter comes back as it was."""
    assert split(join(hosts, values)) == (hosts, {name: values[name] for name in PARAMETERS if name in values})


@given(hosts, values, names, names)
def test_the_shown_address_is_the_same_without_its_secrets(
    hosts: Any, values: dict[str, str], password: str, key_password: str
) -> None:
    """It can be parsed, and says the same; what is pickled or copied has everything."""
    plain = {name: value for name, value in values.items() if name not in ("password", "sslpassword")}
    address = Address.parse(join(hosts, {**plain, "password": password, "sslpassword": key_password}))
    assert address.has_password
    assert str(address) == address.shown == Address.parse(join(hosts, plain)).shown == join(hosts, sorted_as(plain))
    assert repr(address) == f"Address({address.shown!r})"
    for other in (pickle.loads(pickle.dumps(address)), copy.copy(address), copy.deepcopy(address)):
        assert other == address
        assert hash(other) == hash(address)


def sorted_as(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters in the order of the table."""
    return {name: values[name] for name in PARAMETERS if name in values}


@given(st.text(st.characters(codec="utf-8"), max_size=12), st.text(max_size=12), st.sampled_from("/@?#:%& \n[],="))
def test_a_password_is_in_no_message_however_it_is_written(before: str, after: str, odd: str) -> None:
    """As it is and encoded, whole or cut where an address is taken apart; whether it is refused or not."""
    secret = f"S3cr3tA{odd}S3cr3tB"
    for password in (secret, quote(secret, safe=""), before + secret + after):
        texts = [
            f"postgresql://user:{password}@host/db",
            f"postgresql://host/db?password={password}",
            f"postgresql://host/db?sslpassword={password}&sslmode=require",
        ]
        if "@" not in password and password.startswith("S3cr3t"):  # else the rest of it is a host or a database
            texts.append(f"postgresql://user:{password}")
        for text in texts:
            try:
                address = Address.parse(text)
            except ValueError as error:
                shown = f"{error!s} {error!r}"
            else:
                shown = f"{address!s} {address!r} {address.shown}"
            assert "S3cr3t" not in shown, text


def test_a_password_comes_from_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    """asyncpg would pass over any other file, and the server say that the password is wrong."""
    file = tmp_path / "pass"
    address = Address.parse(f"postgresql://u@h/db?passfile={file}")
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        address.arguments()
    file.write_text("h:*:*:u:from-the-file\n", encoding="utf-8")
    file.chmod(0o640)
    with pytest.raises(StoreError, match=f"can be read or changed by others; chmod 600 {file}"):
        address.arguments()
    file.chmod(0o600)
    assert as_asyncpg_has_it(**address.arguments())[1].password == "from-the-file"
    with pytest.raises(StoreError, match="is not a file"):
        Address.parse(f"postgresql://u@h/db?passfile={tmp_path}").arguments()


def test_a_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As do host, user and database that the address leaves out."""
    monkeypatch.setenv("PGPASSWORD", "from-outside")
    monkeypatch.setenv("PGDATABASE", "inside")
    addresses, parameters = as_asyncpg_has_it(**Address.parse("postgresql://u@h:7").arguments())
    assert (addresses, parameters.password, parameters.database) == ([("h", 7)], "from-outside", "inside")


def test_a_port_alone_is_that_of_the_usual_hosts() -> None:
    """The sockets and this machine, as libpq has it."""
    address = Address.parse("postgresql://u@:5433/db")
    assert address.arguments()["port"] == 5433
    assert "host" not in address.arguments()
    assert as_asyncpg_has_it(**address.arguments())[0][-1] == ("localhost", 5433)


def test_ports_of_several_hosts_may_stand_in_a_parameter() -> None:
    """One for each, or one for all, as libpq has it."""
    assert Address.parse("postgresql://h,i/db?port=5,6").arguments()["port"] == [5, 6]
    assert Address.parse("postgresql:///db?host=h,i&port=5").arguments()["port"] == [5, 5]


def test_certificates_reach_the_driver_as_they_are_written() -> None:
    """It has no argument for them, and reads a URL by other rules: a plus is a blank to it."""
    address = Address.parse("postgresql://h/db?sslcert=/a+b,c%20d&sslpassword=%26=")
    driven = urlsplit(address.arguments()["dsn"])
    assert (driven.netloc, driven.path) == ("", "")
    assert parse_qs(driven.query, strict_parsing=True) == {"sslcert": ["/a+b,c d"], "sslpassword": ["&="]}


def test_of_several_hosts_the_one_is_taken_that_can_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby would refuse everything that a scheduler does."""
    assert Address.parse("postgresql://h,i/db").arguments()["target_session_attrs"] == "read-write"
    assert "target_session_attrs" not in Address.parse("postgresql://h/db").arguments()
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "any")
    assert "target_session_attrs" not in Address.parse("postgresql://h,i/db").arguments()


def test_a_port_that_one_of_several_hosts_has_is_not_the_port_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have the usual one, which PGPORT may say."""
    address = Address.parse("postgresql://h:1,i/db")
    assert address.arguments()["port"] == [1, 5432]
    monkeypatch.setenv("PGPORT", "7")
    assert address.arguments()["port"] == [1, 7]


def test_what_connections_are_called_and_how_long_they_are_waited_for() -> None:
    """The address decides, where it says so."""
    plain = Address.parse("postgresql://h/db").arguments("lifecycle worker")
    assert (plain["timeout"], plain["server_settings"]) == (10.0, {"application_name": "lifecycle worker"})
    own = Address.parse("postgresql://h/db?application_name=mine&connect_timeout=3").arguments()
    assert (own["timeout"], own["server_settings"]) == (3.0, {"application_name": "mine"})


def test_the_driver_is_not_loaded_before_a_store_needs_it() -> None:
    """Who uses SQLite needs no extra."""
    program = (
        "import sys, lifecycle.scheduler, lifecycle.scheduler._store.postgres.address as a; "
        "a.Address.parse('postgresql://h/db').arguments(); print('asyncpg' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_missing_driver_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is an error of the store."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StoreError, match=r"needs asyncpg: pip install 'asyncio-lifecycle\[postgres\]'"):
        driver.load_driver()
