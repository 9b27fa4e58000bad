"""Secrets appear in no log, no store, no event and no error, in whatever form they come back."""

from __future__ import annotations

import base64
import json
import logging
import re
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from lifecycle import serve_tcp, take_snapshot
from lifecycle.scheduler import Context, FlowError, JobStatus, Scheduler
from lifecycle.scheduler._ground.secrets import HiddenBytes, Secrets
from lifecycle.scheduler.web._facts import look
from lifecycle.scheduler.web._page import page_of

from ..blocks.web_server import Peer, answer
from ..stores import Address, rows_at
from ..tools import Cli, flow_of, problems_of, run_flow

SECRET = "s3cr3t/+&'\" ä=" + "long" * 40 + "-end"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASE_TOKEN", SECRET)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.delenv("CASE_NOTHING", raising=False)


def traces_of(text: str) -> list[str]:
    """Return what of the secret stands in a text: any eight characters of it are too many."""
    forms = [SECRET, json.dumps(SECRET)[1:-1], urllib.parse.quote(SECRET, safe="")]
    pieces = {form[start : start + 8] for form in forms for start in range(len(form) - 8)}
    return sorted(piece for piece in pieces if piece in text)


async def bad(token: str, context: Context) -> None:
    """Tell the secret in every way there is, and fail with it."""
    assert token == SECRET
    context.log(f"the token is {token}")
    context.log("x" * 420 + token)  # it would be cut in its middle
    context.log(repr({"token": token}))
    context.log(base64.b64encode(token.encode()).decode())
    context.scope.callback(fail, token)
    raise ValueError(f"bad {token} in {token!r}: {json.dumps(token)}")


def fail(token: str) -> None:
    """Fail in a release."""
    raise OSError(token * 20)


async def give(token: str) -> dict[str, Any]:
    """Return the secret in the depth of a result."""
    return {"list": [token, {token: 1}], "url": "https://x/?key=" + urllib.parse.quote(token, safe=""), "n": 3}


FLOW = """
[blocks.bad]
retries = 1
backoff = 0
call = "bad"
args = { token = "${env:CASE_TOKEN}" }

[blocks.give]
call = "give"
args = ["${env:CASE_TOKEN}"]

[blocks.echo]
shell = 'printf %s "$X" >&2; printf "%66000s%s" "" "$CASE_TOKEN"; exit 3'
env = { X = "<${env:CASE_TOKEN}>" }

[blocks.split]
shell = '''printf %s "${CASE_TOKEN%????}"; sleep 0.2; printf %s "${CASE_TOKEN#"${CASE_TOKEN%????}"}"'''

[blocks.number]
sequence = [{ sleep = "${env:CASE_TOKEN}" }]

[blocks.look]
wait_for = { call = "give", args = ["${env:CASE_TOKEN}"] }
until = { value = "${output.n}", above = "${env:CASE_TOKEN}" }
on_failure = "again"
attempts = 2
interval = 0.001

[blocks.path]
shell = ["true"]
cwd = "../${env:CASE_TOKEN}"

[blocks.reached]
shell = ["sh", "-c", 'printf %s "$X" | cksum']
env = { X = "${env:CASE_TOKEN}" }
"""


def all_of(address: Address) -> str:
    """Return whatever is kept in a store, and of what was there."""
    if isinstance(address, Path):
        files = sorted(address.parent.glob(f"{address.name}*"))
        return b"".join(file.read_bytes() for file in files).decode("utf-8", "replace")
    tables = rows_at(
        address, "SELECT relname FROM pg_class WHERE relnamespace = 'lifecycle'::regnamespace AND relkind = 'r'"
    )
    assert tables
    return "\n".join(str(rows_at(address, f"SELECT {table}::text FROM {table}")) for (table,) in tables)


@pytest.mark.asyncio
async def test_a_secret_is_in_no_log_store_event_error_or_snapshot(
    durable: Address, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The handlers and commands have it; whatever is kept or told does not have eight characters of it."""
    caplog.set_level(logging.DEBUG)
    path = durable
    events: list[str] = []
    flow = flow_of(FLOW, directory=tmp_path, bad=bad, give=give)
    async with Scheduler(path, on_event=lambda event: events.append(repr(event.to_dict()))) as scheduler:
        flow_run = await scheduler.submit(flow)
        snapshot = json.dumps(take_snapshot().to_dict())
        outcome = await flow_run.wait()
        jobs = {job.name: job for job in outcome.jobs}
        facts = await look(scheduler)
        page = page_of(facts) + json.dumps([facts.jobs(), facts.owners.to_dict()])
    stored = all_of(path)
    for what, text in {
        "store": stored,
        "events": "\n".join(events),
        "outcome": repr(outcome),
        "log": caplog.text,
        "snapshot": snapshot,
        "page": page,
    }.items():
        assert not traces_of(text), what
    assert "***" in stored
    assert "SecretHidden" in page
    assert jobs["give"].status is jobs["reached"].status is JobStatus.SUCCEEDED
    error = jobs["bad"].error or ""
    assert error.startswith("SecretHidden: 2 failures: ")
    assert "ValueError: bad *** in '***'" in error
    assert "ended with exit code 3: <***>" in (jobs["echo"].error or "")
    assert "expected a number of seconds, got a text with a secret in it" in (jobs["number"].error or "")


@pytest.mark.asyncio
async def test_a_secret_reaches_whom_it_is_for() -> None:
    """A handler as an argument, a command in its environment; what comes back is hidden."""
    got: list[str] = []

    async def take(token: str) -> str:
        got.append(token)
        return f"took {token}"

    ran = await run_flow(
        flow_of(
            "[blocks.a]\ncall = 'take'\nargs = ['Bearer ${env:CASE_TOKEN}']\n"
            "[blocks.b]\nshell = ['sh', '-c', 'test \"$X\" = \"$CASE_TOKEN\" && echo \"$X\"']\n"
            "env = { X = '${env:CASE_TOKEN}' }",
            take=take,
        )
    )
    assert got == [f"Bearer {SECRET}"]
    assert ran.outputs["a"] == "took Bearer ***"
    assert ran.outputs["b"]["stdout"] == "***\n"


@pytest.mark.asyncio
async def test_a_server_that_repeats_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets it; the output, the error and the URL in them do not have it."""
    peer = Peer()
    monkeypatch.setenv("CASE_KEY", "key-0123456789")
    peer.answers["/bot/key-0123456789"] = answer(b"you said key-0123456789")
    peer.answers["/no/key-0123456789"] = answer(b"x" * 390 + b"key-0123456789", "403 Forbidden")
    async with serve_tcp(peer.serve, drain_timeout=1.0) as server:
        url = f"http://127.0.0.1:{server.port}"
        ran = await run_flow(
            flow_of(
                f"[blocks.good]\nhttp = '{url}/bot/${{env:CASE_KEY}}'\nheaders = {{ A = 'Bearer ${{env:CASE_KEY}}' }}\n"
                f"[blocks.bad]\nhttp = '{url}/no/${{env:CASE_KEY}}'\n"
            )
        )
    assert any(b"Bearer key-0123456789" in asked for asked in peer.asked)
    assert (ran.outputs["good"]["text"], ran.outputs["good"]["url"]) == ("you said ***", f"{url}/bot/***")
    assert "key-01" not in ran.error("bad")
    assert f"GET {url}/no/*** was answered with 403 Forbidden" in ran.error("bad")


def test_a_secret_that_is_not_there_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its place; also one that is too short to be hidden. The file alone is right without it."""
    monkeypatch.setenv("CASE_SHORT", "abc")
    names = ", ".join(f"{name} = '${{env:{name}}}'" for name in ("CASE_NOTHING", "CASE_SHORT", "CASE_TOKEN"))
    flow = flow_of(f"[blocks.a]\nshell = ['true']\nenv = {{ {names} }}")
    with pytest.raises(FlowError) as caught:
        flow.bind()
    assert caught.value.problems == (
        "flow.toml: blocks.a.env: ${env:CASE_NOTHING}: the environment variable CASE_NOTHING is not set",
        "flow.toml: blocks.a.env: ${env:CASE_SHORT}: a value of fewer than 4 characters could not be kept out of logs",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("shell = ['curl', '${env:CASE_TOKEN}']", "a secret would be seen in the list of processes"),
        ("shell = 'curl ${env:CASE_TOKEN}'", "a secret is not filled into a shell line"),
        ("shell = 'curl ${env:CASE_TOKEN}'\ninterpolate = true", "a secret would be seen in the list of processes"),
        ("sleep = '${env:}'", "expected the name of an environment variable and '}' after '${env:'"),
        ("sleep = '${env:A.b}'", "expected the name of an environment variable and '}' after '${env:'"),
        ("sleep = '${env.A}'", "${env.A}: unknown name 'env'"),
    ],
)
def test_where_a_secret_cannot_be(text: str, problem: str) -> None:
    """In the arguments of a command; and what is no name."""
    assert any(problem in line for line in problems_of(f"[blocks.a]\n{text}"))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1_000])
def test_a_stream_is_hidden_however_it_is_cut(size: int) -> None:
    """Nothing else is changed or lost."""
    data = b"ab--abc abcabd" + b"abcdef" * 3 + b"abcdefg abcde"
    hider = HiddenBytes(["abcdefg", "abcdef"])
    told = b"".join(hider.feed(data[start : start + size]) for start in range(0, len(data), size)) + hider.rest()
    assert b"abcdef" not in told
    assert told.replace(b"***g", b"***") == b"ab--abc abcabd" + b"***" * 4 + b" abcde"


def test_a_secret_of_several_lines_is_hidden_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a key file is, whose lines a program may tell one by one."""
    monkeypatch.setenv("CASE_KEY", "-----BEGIN-----\nMIIEvQIBADAN\nxyz\n-----END-----\n")
    secrets = Secrets()
    assert secrets.hide("line MIIEvQIBADAN") == "line MIIEvQIBADAN"
    secrets.read("CASE_KEY")
    assert secrets.hide("line MIIEvQIBADAN of xyz") == "line *** of xyz"
    secrets.clear()
    assert secrets.forms == ()


@pytest.mark.parametrize("secret", ["s3cr3t-T0ken", "abcd", "p/w?d>~~~", "\u00fcber-geheim"])
@pytest.mark.parametrize("before", ["", "u", "us", "user:", "deploy:"])
@pytest.mark.parametrize("after", ["", "x", "\n", "more"])
def test_base64_hides_nothing_at_any_place(
    monkeypatch: pytest.MonkeyPatch, secret: str, before: str, after: str
) -> None:
    """In a longer text a secret has another form at each of three places, and each of the two alphabets."""
    monkeypatch.setenv("SECRET", secret)
    secrets = Secrets()
    secrets.read("SECRET")
    whole = (before + secret + after).encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        hidden = secrets.hide(encode(whole).decode())
        assert "***" in hidden
        # What is left are the characters that hold bits of the neighbours too: a byte at each end, and not all of it.
        assert len(hidden.replace("***", "").rstrip("=")) <= (len(before.encode()) + len(after.encode())) * 4 // 3 + 4
    assert secrets.hide(whole.hex()) == f"{before.encode().hex()}***{after.encode().hex()}"
    assert secrets.hide(whole.hex().upper()) == f"{before.encode().hex().upper()}***{after.encode().hex().upper()}"


def test_a_stream_is_looked_through_once_however_long_the_secret_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte by byte, with a secret of many pages: what is compared grows with the stream alone."""
    monkeypatch.setenv("LONG", "key " + "x" * 100_000)
    secrets = Secrets()
    secrets.read("LONG")
    hidden = HiddenBytes(secrets.forms)
    for _ in range(3_000):
        assert hidden.feed(b"no such text: \n") in (b"no such text: \n", b"no such text: ")


def test_what_a_library_logs_during_a_run_holds_no_secret(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has set up logging: Python writes warnings by itself."""
    monkeypatch.setenv("CASE_TOKEN", SECRET)
    cli.write(
        "vendor.py",
        "import logging\nfrom lifecycle.scheduler import handler\n@handler('vendor')\nasync def vendor(token):\n"
        "    logging.getLogger('vendor').warning('POST auth=%s', token)\n",
    )
    flow = cli.write("flow.toml", "handlers = 'vendor.py'\n[blocks.a]\ncall = 'vendor'\nargs = ['${env:CASE_TOKEN}']\n")
    ended = cli.run("run", flow)
    assert ended.returncode == 0, ended.stderr
    assert "POST auth=***" in ended.stderr
    assert "s3cr3t" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "quote", [urllib.parse.quote, urllib.parse.quote_plus, lambda text: urllib.parse.quote(text, "")]
)
@pytest.mark.parametrize("lower", [False, True])
def test_a_percent_encoded_secret_is_hidden_whichever_digits_it_is_written_with(quote: Any, lower: bool) -> None:
    """Peers write %2f as well as %2F."""
    secrets = Secrets()
    secrets.read("CASE_TOKEN")
    url = re.sub("%..", lambda escape: escape[0].lower() if lower else escape[0], quote(SECRET))
    assert secrets.hide(f"https://x/?key={url}&n=3") == "https://x/?key=***&n=3"
