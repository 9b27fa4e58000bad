"""``lifecycle flow show``: a flow drawn as text and as an image."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from click.testing import CliRunner

from lifecycle.cli import cli
from lifecycle.cli.show._flow import as_svg, as_text, levels_of

from ..scheduler.tools import Cli, flow_of

TEXT = """
name = "draw"
[blocks.c]
needs = ["b", {block = "a", may_fail = true}]
priority = 3
sleep = 0
[blocks.b]
needs = ["a"]
delay = 2
sleep = 0
[blocks.a]
sleep = 0
[blocks.beside]
sleep = 0
[finally.end]
sleep = 0
[finally.tell]
when = "failure"
needs = ["end"]
sleep = 0
"""


def test_each_job_is_below_all_that_it_needs() -> None:
    """In any order of the file; what is in finally is below everything."""
    assert [[spec.name for spec in level] for level in levels_of(flow_of(TEXT))] == [
        ["a", "beside"], ["b"], ["c"], ["end"], ["tell"]
    ]  # fmt: skip


def test_a_flow_as_text() -> None:
    """With what each job says of itself, and nothing that goes without saying."""
    assert as_text(flow_of(TEXT)) == [
        "flow draw: 6 jobs, 0 parameters",
        "level 1", "  a       sleep", "  beside  sleep",
        "level 2", "  b       sleep  needs a  delay 2.00 s",
        "level 3", "  c       sleep  needs b, a (may fail)  priority 3",
        "level 4, finally", "  end     sleep",
        "level 5, finally", "  tell    sleep  needs end  when failure",
    ]  # fmt: skip


def test_a_flow_as_an_image() -> None:
    """It is well formed, refers to nothing, and has a box for each job and a line for each need that was written."""
    image = as_svg(flow_of(TEXT))
    root = ElementTree.fromstring(image)
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{space}rect")) == 6
    assert [path.get("class") for path in root.iter(f"{space}path")] == [None, "may_fail", None, None]
    assert "href" not in image
    assert "prefers-color-scheme: dark" in image


def test_a_long_chain_is_drawn(tmp_path: Path) -> None:
    """Without recursion; of many needs the first are named."""
    chain = "[blocks.j0]\nsleep = 0\n" + "".join(
        f"[blocks.j{number}]\nneeds = ['j{number - 1}']\nsleep = 0\n" for number in range(1, 3_000)
    )
    assert len(levels_of(flow_of(chain))) == 3_000
    star = "".join(f"[blocks.j{number}]\nsleep = 0\n" for number in range(20))
    needs = ", ".join(f"'j{number}'" for number in range(20))
    (tmp_path / "star.toml").write_text(f"{star}[blocks.last]\nneeds = [{needs}]\nsleep = 0\n")
    shown = CliRunner().invoke(cli, ["flow", "show", str(tmp_path / "star.toml")])
    assert shown.exit_code == 0
    assert "j7, 12 more" in shown.output
    assert CliRunner().invoke(cli, ["flow", "show", str(tmp_path / "star.toml"), "--svg"]).output.startswith("<svg")
    (tmp_path / "wrong.toml").write_text("x = 1")
    assert CliRunner().invoke(cli, ["flow", "show", str(tmp_path / "wrong.toml")]).exit_code == 2


PLAN = """
handlers = "noisy.py"
[params]
host = { type = "string" }
parts = { type = "integer", default = 3 }
[blocks.build]
shell = ["touch", "built"]
[blocks.late]
needs = ["build"]
call = "noisy.write"
args = ["${params.host}"]
[blocks.early]
needs = [{ block = "build", may_fail = true }]
priority = 1
sleep = 0
[finally.end]
sleep = 0
"""

NOISY = """
from lifecycle.scheduler import handler
print("loaded")
@handler("noisy.write")
def write(host):
    open("written", "w")
"""


def test_a_dry_run_says_what_would_run_and_does_nothing(tmp_path: Path) -> None:
    """For people and for machines, whatever the handlers print; no database is made, and none is locked."""
    command = Cli(tmp_path)
    command.write("noisy.py", NOISY)
    asked = ("run", command.write("plan.toml", PLAN), "--db", "jobs.sqlite", "--dry-run")
    shown = command.run(*asked, "--param", "host=web1")
    assert (shown.returncode, shown.stdout.splitlines()[1:]) == (0, [
        "flow plan: 4 jobs, 2 parameters", '  host = "web1"', "  parts = 3",
        "level 1", "  build  shell",
        "level 2", "  early  sleep  needs build (may fail)  priority 1", "  late   call  needs build",
        "level 3, finally", "  end    sleep",
    ])  # fmt: skip
    plan = json.loads(command.run(*asked, "--param", "host=web1", "--json").stdout)
    assert (plan["event"], plan["flow"], plan["params"]) == ("plan", "plan", {"host": "web1", "parts": 3})
    assert [[job["job"] for job in level] for level in plan["levels"]] == [["build"], ["early", "late"], ["end"]]
    early = plan["levels"][1][0]
    assert (early["needs"], early["may_fail"], early["priority"]) == (["build"], ["build"], 1)
    assert sorted(path.name for path in command.directory.iterdir() if path.is_file()) == ["noisy.py", "plan.toml"]


def test_a_dry_run_refuses_what_a_run_refuses(tmp_path: Path) -> None:
    """With the same words and exit code: a missing parameter, a secret that is not there."""
    command = Cli(tmp_path)
    command.write("noisy.py", NOISY)
    for text in (PLAN, PLAN.replace('host = { type = "string" }', "").replace("params.host", "env:NOT_THERE_AT_ALL")):
        flow = command.write("plan.toml", text)
        dry, real = (command.run("run", flow, *more) for more in (["--dry-run"], []))
        assert (dry.returncode, dry.stderr) == (real.returncode, real.stderr) == (2, real.stderr)
        assert real.stderr


DECLARED = """
name = "declared"
[params]
host = { type = "string", help = "where\\nto", choices = ["a", "b"] }
out = { type = "path", default = "here" }
parts = 3
[blocks.a]
queue = "slow"
sleep = 0
"""


def test_what_a_flow_is_given_is_shown() -> None:
    """Type, whether it is required, default, choices and help; and a queue that is not the usual one."""
    assert as_text(flow_of(DECLARED)) == [
        "flow declared: 1 job, 3 parameters",
        r'  host  string  required  one of "a", "b"  where\nto',
        f'  out  path  default "{Path.cwd()}/here"',
        "  parts  integer  default 3",
        "level 1",
        "  a  sleep  queue slow",
    ]


def test_a_flow_as_json(tmp_path: Path) -> None:
    """One object, without values for its parameters."""
    (tmp_path / "declared.toml").write_text(DECLARED)
    shown = CliRunner().invoke(cli, ["flow", "show", str(tmp_path / "declared.toml"), "--json"])
    assert shown.exit_code == 0, shown.output
    table = json.loads(shown.output)
    assert set(table) == {"flow", "description", "params", "levels"}
    assert [(param["name"], param["type"], param["required"]) for param in table["params"]] == [
        ("host", "string", True), ("out", "path", False), ("parts", "integer", False)
    ]  # fmt: skip
    assert table["levels"][0][0]["queue"] == "slow"
    both = CliRunner().invoke(cli, ["flow", "show", str(tmp_path / "declared.toml"), "--json", "--svg"])
    assert (both.exit_code, "--svg or --json" in both.stderr) == (2, True)
