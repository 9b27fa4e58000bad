"""Paths in flows stay under the flow's directory, unless the caller allows more."""

from __future__ import annotations

from pathlib import Path

import pytest

from lifecycle.scheduler import FlowError, JobStatus, load_flow
from lifecycle.scheduler._language.paths import Boundary
from lifecycle.scheduler.errors import PathNotAllowed

from ..tools import flow_of, run_flow


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A flow's directory with a sibling that is not its own, and a link to that."""
    for name in ("home/sub", "home2", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "home" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "home" / "inner").symlink_to("sub")
    return tmp_path / "home"


@pytest.mark.parametrize("path", ["", "sub", "sub/../sub", "inner", "not/there", "."])
def test_what_is_inside(home: Path, path: str) -> None:
    """Also what is not there yet, and a link that stays inside."""
    assert Boundary(home).inside(path, "cwd") == home / path
    assert Boundary(home).inside(home / path, "cwd") == home / path


@pytest.mark.parametrize(
    "path", ["..", "../home2", "sub/../../other", "link", "link/x", "/", "/etc/passwd", "../home2/x"]
)
def test_what_is_outside(home: Path, path: str) -> None:
    """By dots, by a link, or absolute; a sibling whose name begins the same is another directory."""
    with pytest.raises(PathNotAllowed, match="leads out of the flow's directory; name the place in the flow's allow"):
        Boundary(home).inside(path, "cwd")


def test_what_is_allowed(home: Path) -> None:
    """A directory that is allowed, with all below it, and nothing beside it."""
    boundary = Boundary(home, (home.parent / "other",))
    assert boundary.inside("../other/x", "cwd")
    assert boundary.inside("link", "cwd")
    with pytest.raises(PathNotAllowed):
        boundary.inside("../home2", "cwd")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[blocks.a]\nshell = ['pwd']\ncwd = '../other'", "blocks.a.cwd"),
        ("[blocks.a]\nshell = ['pwd']\ncwd = 'link'", "blocks.a.cwd"),
        ("[params]\np = { type = 'path', default = '../other' }\n[blocks.a]\nsleep = 1", "params.p.default"),
        ("handlers = '../other/handlers.py'\n[blocks.a]\nsleep = 1", "handlers"),
    ],
)
def test_a_path_in_the_file_is_refused_before_anything_runs(home: Path, text: str, place: str) -> None:
    """A module of handlers outside is not even imported; with `allow_paths` all of it is right."""
    (home.parent / "other" / "handlers.py").write_text(
        "import lifecycle.scheduler\nfrom pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
        "@lifecycle.scheduler.handler('x')\ndef x(): pass\n"
    )
    file = home / "flow.toml"
    file.write_text(text)
    with pytest.raises(FlowError) as caught:
        load_flow(file)
    assert [problem.split(": ")[:2] for problem in caught.value.problems] == [["flow.toml", place]]
    assert "leads out of the flow's directory" in str(caught.value)
    assert not (home.parent / "other" / "ran").exists()
    assert load_flow(file, allow_paths=[home.parent / "other"])
    file.write_text(f"allow_paths = ['../other']\n{text}")
    assert load_flow(file)


@pytest.mark.asyncio
async def test_a_path_that_an_expression_makes_is_refused_when_the_block_runs(home: Path) -> None:
    """No command is started."""
    text = "{}[params]\nd = '.'\n[blocks.a]\nshell = ['pwd']\ncwd = '${{params.d}}'"
    flow = flow_of(text.format(""), directory=home)
    assert (await run_flow(flow, {"d": "sub"})).outputs["a"]["stdout"] == f"{home / 'sub'}\n"
    for outside in ("..", "link", "/tmp"):
        ran = await run_flow(flow, {"d": outside})
        assert ran.error("a").startswith(
            f"blocks.a: PathNotAllowed: cwd: {outside!r} leads out of the flow's directory"
        )
    ran = await run_flow(flow_of(text.format("allow_paths = ['/']\n"), directory=home), {"d": ".."})
    assert ran.jobs["a"].status is JobStatus.SUCCEEDED


def test_allow_paths_is_a_list_of_texts(home: Path) -> None:
    """Anything else is told with its place."""
    with pytest.raises(FlowError, match="allow_paths: expected a list of strings that are not empty, got 3"):
        flow_of("allow_paths = 3\n[blocks.a]\nsleep = 1", directory=home)
