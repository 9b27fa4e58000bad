"""The parts of our kubelet, each for itself: logs, paths, variables, phases, and who ends its processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from .containers import Script, reference_is_valid
from .keeper import Keeper
from .logs import LONGEST, Log, Question, nanoseconds_of, rfc3339
from .statuses import ContainerState, conditions, merged, phase_of
from .volumes import Root, contents, expand

ROOT = Path(__file__).parents[2]


def written(*pieces: bytes, most: int = 10_000, over: bool = True) -> Log:
    """Return a log with that in it."""
    log = Log(most)
    for piece in pieces:
        log.write(piece)
    if over:
        log.end()
    return log


async def answer(log: Log, **query: str) -> str:
    """Return what a log says to a question."""
    return b"".join([it async for it in Question.read(query).answer(log)]).decode()


@pytest.mark.parametrize(
    "text", ["2026-01-02T03:04:05.000000006Z", "1970-01-01T00:00:00.100000000Z", "2026-01-02T03:04:05.999999999Z"]
)
def test_times_of_logs_keep_their_nanoseconds(text: str) -> None:
    """A float would lose them."""
    assert rfc3339(nanoseconds_of(text)) == text


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000000Z"),
        ("2026-01-02T03:04:05.5Z", "2026-01-02T03:04:05.500000000Z"),
        ("2026-01-02T05:04:05.25+02:00", "2026-01-02T03:04:05.250000000Z"),
        ("2026-01-02T01:04:05.25-02:00", "2026-01-02T03:04:05.250000000Z"),
    ],
)
def test_times_of_others(text: str, same: str) -> None:
    """Fewer digits, and other zones."""
    assert rfc3339(nanoseconds_of(text)) == same


@pytest.mark.asyncio
async def test_lines_of_a_log() -> None:
    """Pieces become lines; a last one without an end stays without, and has no time of its own within a line."""
    log = written(b"one\ntw", b"o\nthree")
    assert await answer(log) == "one\ntwo\nthree"
    assert await answer(log, tailLines="2") == "two\nthree"
    assert await answer(log, tailLines="0") == ""
    assert await answer(log, limitBytes="5") == "one\nt"
    assert await answer(log, sinceSeconds="60") == "one\ntwo\nthree"
    assert await answer(log, sinceTime="2999-01-01T00:00:00Z") == ""
    long = written(b"x" * (LONGEST + 3), b"\n", most=10 * LONGEST)
    assert (await answer(long, timestamps="true")).count("Z ") == 1
    assert await answer(long) == "x" * (LONGEST + 3) + "\n"


@pytest.mark.asyncio
async def test_a_log_that_is_too_long_loses_its_beginning() -> None:
    """As a file does that is rotated."""
    log = written(*[b"line %4d\n" % number for number in range(1000)], most=1000)
    lines = (await answer(log)).splitlines()
    assert lines[-1] == "line  999"
    assert 50 < len(lines) <= 100


@pytest.mark.asyncio
async def test_a_log_is_followed_to_its_end() -> None:
    """Whoever follows gets what comes later, and leaves with the end."""
    log = written(b"early\n", over=False)
    reading = asyncio.create_task(answer(log, follow="true"))
    await asyncio.sleep(0)
    log.write(b"late\n")
    await asyncio.sleep(0)
    assert not reading.done()
    log.end()
    assert await reading == "early\nlate\n"


def test_variables_in_texts() -> None:
    """As the API documents them: what is not known stays, and a doubled dollar is one."""
    assert expand("$(A) $(B) $$(A) $A", {"A": "1"}) == "1 $(B) $(A) $A"


def test_paths_of_mounts(tmp_path: Path) -> None:
    """A path is replaced as a whole or as the beginning of a longer one, and nowhere else; the longest first."""
    volumes = {"a": tmp_path / "a", "b": tmp_path / "b"}
    mounts = [{"name": "a", "mountPath": "/data"}, {"name": "b", "mountPath": "/data/inner/"}]
    root = Root(tmp_path / "root", {"volumeMounts": [mounts[0], {**mounts[1], "mountPath": "/other/inner"}]}, volumes)
    here = tmp_path / "root"
    assert root.place("/data") == f"{here}/data"
    assert root.place("cat /data/x,/data;/other/inner/y") == f"cat {here}/data/x,{here}/data;{here}/other/inner/y"
    for other in ("/database", "/my/data", "x/data", "/data.txt", "/other/innermost"):
        assert root.place(other) == other
    (Path(root.place("/data")) / "file").write_text("content")
    assert (tmp_path / "a" / "file").read_text() == "content"
    assert root.place("/dev/termination-log") == str(root.last_words)


def test_contents_of_secrets_and_config_maps() -> None:
    """One is encoded, the other is not, except for what is binary."""
    assert contents({"kind": "Secret", "data": {"a": "aGk="}}) == {"a": b"hi"}
    assert contents({"kind": "ConfigMap", "data": {"a": "aGk="}, "binaryData": {"b": "aGk="}}) == {
        "a": b"aGk=",
        "b": b"hi",
    }


def container(code: int | None = None, name: str = "main", *, running: bool = False) -> ContainerState:
    """Return a container that waits, runs, or has ended."""
    state = ContainerState(name, "image", {"waiting": {"reason": "ContainerCreating"}})
    if running:
        state.runs("")
    if code is not None:
        state.ends(code, "", "", "", "")
    return state


@pytest.mark.parametrize(
    ("policy", "inits", "containers", "ending", "phase"),
    [
        ("Never", [], [container()], False, "Pending"),
        ("Never", [], [container(running=True)], False, "Running"),
        ("Never", [], [container(0), container(running=True)], False, "Running"),
        ("Never", [], [container(0), container(0)], False, "Succeeded"),
        ("Never", [], [container(0), container(1)], False, "Failed"),
        ("OnFailure", [], [container(1)], False, "Running"),
        ("OnFailure", [], [container(1)], True, "Failed"),
        ("OnFailure", [], [container(0)], False, "Succeeded"),
        ("Always", [], [container(0)], False, "Running"),
        ("Never", [container(running=True)], [container()], False, "Pending"),
        ("Never", [container(1)], [container()], False, "Failed"),
        ("OnFailure", [container(1)], [container()], False, "Pending"),
    ],
)
def test_phases(
    policy: str, inits: list[ContainerState], containers: list[ContainerState], ending: bool, phase: str
) -> None:
    """The phase of a pod is what its containers and its policy make it."""
    assert phase_of(policy, inits, containers, ending) == phase


def test_a_condition_keeps_its_time_and_those_of_others_stay() -> None:
    """Only a change of the status is a transition."""
    old = [{"type": "DisruptionTarget", "status": "True"}, {"type": "Initialized", "status": "True"}]
    old[1]["lastTransitionTime"] = "then"
    new = {it["type"]: it for it in merged(old, conditions("Running", [], [container(running=True)]))}
    assert new["DisruptionTarget"]["status"] == "True"
    assert new["Initialized"]["lastTransitionTime"] == "then"
    assert new["Ready"]["lastTransitionTime"] != "then"


@pytest.mark.parametrize(
    ("image", "valid"),
    [
        ("python", True), ("python:3.12-slim", True), ("a.b:5000/c/d_e:tag", True), ("x@sha256:" + "0" * 64, True),
        ("invalid image!", False), ("Upper", False), ("a//b", False), ("a:", False),
    ],
)  # fmt: skip
def test_names_of_images(image: str, valid: bool) -> None:
    """What cannot be a name is told by the kubelet, not by the API."""
    assert reference_is_valid(image) is valid


@pytest.mark.asyncio
async def test_a_script_listens_unless_it_is_deaf() -> None:
    """One ends with SIGTERM, the other with SIGKILL only."""
    for image, code in (("script/sleep-1000", 143), ("script/deaf+sleep-1000", 137)):
        script = Script(image, Log())
        await script.start()
        ending = asyncio.create_task(script.wait())
        await asyncio.sleep(0)
        script.ask_to_end()
        script.kill()
        assert (await ending).code == code


PROGRAM = """
import os, subprocess, sys, time
from pathlib import Path
from tests.kubernetes.keeper import Keeper
keeper = Keeper()
first = keeper.ask(run="first", command=["sleep", "1000"], log=sys.argv[1])
second = subprocess.Popen(["sleep", "1000"], start_new_session=True).pid
keeper.tell(mind=second)
keeper.tell(mark="MARK=ours")
third = subprocess.Popen(["sleep", "1000"], start_new_session=True, env={**os.environ, "MARK": "ours"}).pid
keeper.ask(look="first")
print(first, second, third, flush=True)
time.sleep(1000)
"""


def test_nothing_outlives_a_test_run_that_is_killed(tmp_path: Path) -> None:
    """Neither what the keeper has started nor what it was told of; nobody had a chance to say so."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as run:
        assert run.stdout is not None
        pids = [int(word) for word in run.stdout.readline().split()]
        alive = [is_alive(pid) for pid in pids]
        run.kill()
    assert alive == [True] * 3
    until = time.monotonic() + 60
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < until, "they are still there"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Return whether a process does anything."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_keeper_that_is_closed_has_ended_everything(tmp_path: Path) -> None:
    """When the call returns; and a process that was forgotten goes on."""
    keeper = Keeper()
    kept = keeper.ask(run="kept", command=["sleep", "1000"], log=str(tmp_path / "log"))
    killed = keeper.ask(run="killed", command=["sleep", "1000"], log=str(tmp_path / "log"))
    keeper.ask(kill="killed")
    assert not psutil.pid_exists(killed)
    other = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        keeper.tell(mind=other.pid)
        keeper.tell(forget=other.pid)
        keeper.close()
        keeper.close()
        assert not psutil.pid_exists(kept)
        assert is_alive(other.pid)
    finally:
        other.kill()
        other.wait()
