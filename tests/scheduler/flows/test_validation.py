"""Validation of flows: complete, before anything runs, one line per problem with its place."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.scheduler import FlowError, flow_of_table, load_flow
from lifecycle.scheduler._blocks import KINDS
from lifecycle.scheduler._ground.text import did_you_mean

from ..tools import flow_of, problems_of


def greet(name: str, times: int = 1, *, loud: bool = False) -> str:
    """A handler with one required argument."""
    return name * times


def anything(*args: Any, **kwargs: Any) -> None:
    """A handler that takes everything."""


def with_context(value: float, context: object) -> None:
    """A handler that wants the context."""


def check(text: str) -> list[str]:
    """Return the problems of a flow that knows the three handlers."""
    return problems_of(text, greet=greet, anything=anything, with_context=with_context)


RIGHT = """
name = "right"
description = "everything that a flow can have"
[params]
n = 3
ratio = 0.5
path = { type = "path", default = "x", help = "where" }
needed = { type = "string" }
kind = { type = "string", default = "a", choices = ["a", "b"] }
[blocks.a]
call = "greet"
args = { name = "${params.needed}", times = "${params.n}" }
description = "the first"
priority = -5
delay = 0.5
retries = 3
backoff = [0.1, 2]
timeout = 10
[blocks.b]
needs = ["a"]
foreach = "${blocks.a.output}"
as = "letter"
width = "${params.n}"
on_failure = "finish"
each = { call = "anything", args = ["${letter}", "${index}"] }
[blocks.c]
needs = ["b"]
[[blocks.c.sequence]]
name = "first"
shell = ["echo", "${blocks.a.output}", 1, 2.5, true]
env = { X = "${params.n}" }
cwd = "sub"
grace = 1
ok = [0, 1]
[[blocks.c.sequence]]
parallel = [{ sleep = "${params.ratio}" }, { shell = "echo $HOME ${HOME}" }]
width = 2
[[blocks.c.sequence]]
retry = { attempts = 3, backoff = 0.1 }
do = { call = "with_context", args = { value = 1 }, timeout = 1 }
[[blocks.c.sequence]]
retry = 2
do = { shell = "echo ${steps.first.output.stdout}", interpolate = true }
"""


def test_a_flow_with_everything_is_right() -> None:
    """No problem is found where there is none."""
    flow = flow_of(RIGHT, greet=greet, anything=anything, with_context=with_context)
    assert list(flow.jobs) == ["a", "b", "c"]
    a = flow.jobs["a"]
    assert (a.priority, a.delay, a.retries, a.backoff, a.block.timeout) == (-5, 0.5, 3, (0.1, 2.0), 10.0)
    assert flow.jobs["c"].uses == {"a"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # the top of the file
        ("", "flow.toml: blocks: expected at least one block, [blocks.NAME]"),
        ("blocks = 3", "flow.toml: blocks: expected a table, got 3"),
        ("[blocks]", "flow.toml: blocks: expected at least one block, [blocks.NAME]"),
        ('name = "a b"\n[blocks.a]\nsleep = 1', "flow.toml: name: expected letters"),
        ("nam = 'x'\n[blocks.a]\nsleep = 1", "flow.toml: nam: unknown key; did you mean 'name'?"),
        ("handlers = 'x.py'\n[blocks.a]\nsleep = 1", "flow.toml: handlers: there is no file"),
        ("handlers = 'no.such'\n[blocks.a]\nsleep = 1", "flow.toml: handlers: there is no module no.such; is it"),
        # blocks
        ("[blocks]\na = 1", "flow.toml: blocks.a: expected a block (a table), got 1"),
        ('[blocks."a b"]\nsleep = 1', "flow.toml: blocks.a b: expected a name"),
        ("[blocks.a]", "flow.toml: blocks.a: unknown block: expected one of the keys 'call'"),
        ("[blocks.a]\nslep = 1", "flow.toml: blocks.a: unknown block 'slep'; did you mean 'sleep'?"),
        ("[blocks.a]\nxyz = 1", "flow.toml: blocks.a: unknown block: expected one of the keys"),
        ("[blocks.a]\nsleep = 1\ncall = 'greet'", "flow.toml: blocks.a: a block is of one kind, but it has"),
        ("[blocks.a]\nsleep = 1\ntimout = 1", "flow.toml: blocks.a.timout: unknown key; did you mean 'timeout'?"),
        ("[blocks.a]\nsleep = 1\nname = 'b'", "flow.toml: blocks.a.name: a top-level block is named by its table"),
        # the keys of a job
        ("[blocks.a]\nsleep = 1\nneeds = 'b'", "flow.toml: blocks.a.needs: expected a list of names, got 'b'"),
        ("[blocks.a]\nsleep = 1\nneeds = ['b']", "flow.toml: blocks.a.needs: unknown block 'b'"),
        ("[blocks.a]\nsleep = 1\nneeds = ['a']", "flow.toml: blocks.a.needs: a cycle: a -> a"),
        ("[blocks.abc]\nsleep = 1\n[blocks.b]\nsleep = 1\nneeds = ['abd']", "did you mean 'abc'?"),
        ("[blocks.a]\nsleep = 1\n[blocks.b]\nsleep = 1\nneeds = ['a', 'a']", "flow.toml: blocks.b.needs: the name 'a'"),
        ("[blocks.a]\nsleep = 1\npriority = 'x'", "flow.toml: blocks.a.priority: expected an integer, got 'x'"),
        ("[blocks.a]\nsleep = 1\npriority = true", "flow.toml: blocks.a.priority: expected an integer, got True"),
        ("[blocks.a]\nsleep = 1\npriority = 1.5", "flow.toml: blocks.a.priority: expected an integer, got 1.5"),
        ("[blocks.a]\nsleep = 1\nretries = -1", "flow.toml: blocks.a.retries: expected an integer from 0"),
        ("[blocks.a]\nsleep = 1\ndelay = -0.1", "flow.toml: blocks.a.delay: expected 0 or more"),
        ("[blocks.a]\nsleep = 1\ntimeout = 0", "flow.toml: blocks.a.timeout: expected more than 0"),
        ("[blocks.a]\nsleep = 1\ntimeout = 1e300", "flow.toml: blocks.a.timeout: expected more than 0 and at most"),
        ("[blocks.a]\nsleep = 1\nbackoff = [3, 1]", "flow.toml: blocks.a.backoff: the first pause 3 is longer"),
        ("[blocks.a]\nsleep = 1\nbackoff = [1, 2, 3]", "flow.toml: blocks.a.backoff: expected seconds, or"),
        ("[blocks.a]\nsleep = 1\nbackoff = 'x'", "flow.toml: blocks.a.backoff: expected seconds, or"),
        # call
        ("[blocks.a]\ncall = 3", "flow.toml: blocks.a.call: expected a string, got 3"),
        ("[blocks.a]\ncall = ''", "flow.toml: blocks.a.call: expected a string that is not empty"),
        ("[blocks.a]\ncall = 'gret'", "flow.toml: blocks.a.call: unknown handler 'gret'; did you mean 'greet'?"),
        ("[blocks.a]\ncall = 'greet'", "flow.toml: blocks.a.args: handler 'greet'(name: 'str'"),
        ("[blocks.a]\ncall = 'greet'\nargs = 3", "flow.toml: blocks.a.args: expected a table or a list"),
        ("[blocks.a]\ncall = 'greet'\nargs = ['a', 2, 3]", "too many positional arguments"),
        ("[blocks.a]\ncall = 'greet'\nargs = {name = 'a', tims = 2}", "did you mean 'times'?"),
        ("[blocks.a]\ncall = 'greet'\nargs = {name = 3}", "argument 'name': expected str, got 3"),
        ("[blocks.a]\ncall = 'greet'\nargs = {name = 'a', times = true}", "argument 'times': expected int, got True"),
        ("[blocks.a]\ncall = 'greet'\nargs = {name = 'a', times = 'x${run.id}'}", "argument 'times': expected int"),
        ("[blocks.a]\ncall = 'with_context'\nargs = {value = 1, context = 2}", "'context' is given by the scheduler"),
        # shell
        ("[blocks.a]\nshell = 3", "flow.toml: blocks.a.shell: expected a command as a line or a list"),
        ("[blocks.a]\nshell = ''", "flow.toml: blocks.a.shell: expected a command that is not empty"),
        ("[blocks.a]\nshell = []", "flow.toml: blocks.a.shell: expected a command as a line or a list"),
        ("[blocks.a]\nshell = ['']", "flow.toml: blocks.a.shell[0]: expected a program's name"),
        ("[blocks.a]\nshell = ['ls', []]", "flow.toml: blocks.a.shell[1]: expected a string or a number"),
        ("[blocks.a]\nshell = 'ls'\nok = [256]", "flow.toml: blocks.a.ok: expected a list of exit codes"),
        ("[blocks.a]\nshell = 'ls'\ncwd = 3", "flow.toml: blocks.a.cwd: expected a path, got 3"),
        ("[blocks.a]\nshell = 'ls'\nenv = {'a=b' = 1}", "flow.toml: blocks.a.env: expected a variable's name"),
        ("[blocks.a]\nshell = 'ls'\nenv = {A = []}", "flow.toml: blocks.a.env.A: expected a string or a number"),
        # the blocks that hold others
        ("[blocks.a]\nsequence = []", "flow.toml: blocks.a.sequence: expected a list of blocks that is not empty"),
        ("[blocks.a]\nsequence = [1]", "flow.toml: blocks.a.sequence[0]: expected a block (a table), got 1"),
        ("[blocks.a]\nparallel = [{sleep=1}, {slep=1}]", "flow.toml: blocks.a.parallel[1]: unknown block 'slep'"),
        ("[blocks.a]\nparallel = [{sleep=1}]\nwidth = 0", "flow.toml: blocks.a.width: expected an integer from 1"),
        ("[blocks.a]\nparallel = [{sleep=1}]\nwidth = 'x'", "flow.toml: blocks.a.width: expected an integer, got 'x'"),
        ("[blocks.a]\nparallel = [{sleep=1}]\non_failure = 'x'", "flow.toml: blocks.a.on_failure: expected one of"),
        ("[blocks.a]\nforeach = 3\neach = {sleep = 1}", "flow.toml: blocks.a.foreach: expected a list, or one"),
        ("[blocks.a]\nforeach = 'a'\neach = {sleep = 1}", "flow.toml: blocks.a.foreach: expected a list, or one"),
        ("[blocks.a]\nforeach = [1]", "flow.toml: blocks.a.each: missing; expected a block"),
        ("[blocks.a]\nforeach = [1]\nas = 'params'\neach = {sleep=1}", "flow.toml: blocks.a.as: expected a name"),
        ("[blocks.a]\nforeach = [1]\neach = {call='x'}", "flow.toml: blocks.a.each.call: unknown handler 'x'"),
        ("[blocks.a]\nforeach = [1]\neach = {sleep=1, needs=['b']}", "blocks.a.each.needs: only a top-level block"),
        ("[blocks.a]\nretry = 0\ndo = {sleep=1}", "flow.toml: blocks.a.retry.attempts: expected an integer from 1"),
        ("[blocks.a]\nretry = 'x'\ndo = {sleep=1}", "flow.toml: blocks.a.retry: expected a number of attempts"),
        ("[blocks.a]\nretry = {attempt = 3}\ndo = {sleep=1}", "blocks.a.retry.attempt: unknown key; did you mean"),
        ("[blocks.a]\nsleep = -1", "flow.toml: blocks.a.sleep: expected 0 or more"),
        ("[blocks.a]\nsleep = 3155760001", "sleep: expected 0 or more and at most 3,155,760,000 seconds"),  # a century
        ("[blocks.a]\nsleep = 'x'", "flow.toml: blocks.a.sleep: expected a number of seconds, got 'x'"),
        ("[blocks.a]\nsleep = 'x ${run.id}'", "flow.toml: blocks.a.sleep: expected a number, or one expression"),
        ("[blocks.a]\nsequence = [{sleep=1, name='x'}, {sleep=1, name='x'}]", "sequence[1].name: the name 'x' is used"),
        # expressions
        ("[blocks.a]\nsleep = '${params.x}'", "flow.toml: blocks.a.sleep: ${params.x}: unknown parameter 'x'"),
        ("[blocks.a]\nsleep = '${parms.x}'", "unknown name 'parms'; did you mean 'params'?"),
        ("[blocks.a]\nsleep = '${params}'", "expected a parameter's name"),
        ("[blocks.a]\nsleep = '${params[0]}'", "expected a parameter's name"),
        ("[blocks.a]\nsleep = '${item}'", "'item' is known only inside the block of a foreach"),
        ("[blocks.a]\nsleep = '${blocks.b.output}'", "unknown block 'b'"),
        ("[blocks.a]\nsleep = '${blocks}'", "expected a block's name"),
        ("[blocks.a]\nsleep = 1\n[blocks.b]\nsleep = '${blocks.a.output}'", "block 'a' is not in needs; add it"),
        ("[blocks.a]\nsleep = 1\n[blocks.b]\nneeds = ['a']\nsleep = '${blocks.a.outpt}'", "or 'error' after"),
        ("[blocks.a]\nsleep = '${blocks.a.output}'", "block 'a' is not in needs"),
        ("[blocks.a]\nsleep = '${steps.x.output}'", "${steps.x.output}: unknown step"),
        ("[blocks.a]\nsequence = [{sleep='${steps.y.output}'}, {name='y', sleep=1}]", "unknown step"),
        ("[blocks.a]\nparallel = [{name='y', sleep=1}, {sleep='${steps.y.output}'}]", "unknown step"),
        ("[blocks.a]\nsleep = '${run.pid}'", "expected one of 'attempt', 'directory', 'flow', 'id' after 'run'"),
        ("[blocks.a]\nsleep = '${params.}'", "flow.toml: blocks.a.sleep: expected"),
        ("[blocks.a]\nshell = 'rm ${params.x}'", "an expression in a shell line is not filled in"),
        ("[blocks.a]\nforeach = [1]\neach = {shell = 'rm ${item}'}", "an expression in a shell line is not filled in"),
        # parameters
        ("[params]\nx = {}\n[blocks.a]\nsleep = 1", None),
        ("[params]\nx = {type = 'int'}\n[blocks.a]\nsleep = 1", "flow.toml: params.x.type: expected one of"),
        ("[params]\nx = {type = 'integer', default = 'a'}\n[blocks.a]\nsleep = 1", "params.x.default: expected an int"),
        ("[params]\nx = {default = 1, required = true}\n[blocks.a]\nsleep = 1", "params.x.required: a parameter with"),
        ("[params]\nx = {default = 1, choices = [2]}\n[blocks.a]\nsleep = 1", "params.x.default: expected one of '2'"),
        ("[params]\nx = {defalt = 1}\n[blocks.a]\nsleep = 1", "params.x.defalt: unknown key; did you mean 'default'?"),
        ("params = 3\n[blocks.a]\nsleep = 1", "flow.toml: params: expected a table, got 3"),
    ],
)  # fmt: skip
def test_a_problem_is_named_with_its_place(text: str, problem: str | None) -> None:
    """Each wrong flow gives a line with the file, the place and what was expected."""
    problems = check(text)
    if problem is None:
        assert problems == []
    else:
        assert any(problem in line for line in problems), problems
        assert all(line.startswith("flow.toml: ") for line in problems)


def test_a_cycle_is_printed_as_a_cycle() -> None:
    """Each knot is told once, with the names in order."""
    text = "".join(f"[blocks.{name}]\nsleep = 1\nneeds = ['{needed}']\n" for name, needed in ["ab", "bc", "ca", "da"])
    assert check(text) == ["flow.toml: blocks.a.needs: a cycle: a -> b -> c -> a"]


def test_an_output_of_a_block_further_up_may_be_used() -> None:
    """What ends before, through any number of needs, is known."""
    text = "[blocks.a]\nsleep = 1\n[blocks.b]\nsleep = 1\nneeds = ['a']\n"
    assert check(text + "[blocks.c]\nneeds = ['b']\nsleep = '${blocks.a.output}'") == []


def test_all_problems_are_told_at_once_up_to_a_bound() -> None:
    """Twenty problems are told in full, the others are counted."""
    lines = check("".join(f"[blocks.b{number}]\nsleep = -1\n" for number in range(30)))
    assert len(lines) == 21
    assert lines[-1] == "flow.toml: and 10 more problems"


def test_nesting_too_deep_is_an_error_that_names_the_path() -> None:
    """Recursion is bounded by 32 blocks."""
    block: dict[str, Any] = {"sleep": 1}
    for _ in range(40):
        block = {"sequence": [block]}
    with pytest.raises(FlowError) as caught:
        flow_of_table({"blocks": {"deep": block}}, source="deep.toml")
    assert len(caught.value.problems) == 1
    assert "deep.toml: blocks.deep.sequence[0].sequence[0]" in str(caught.value)
    assert "blocks nested deeper than 32 levels" in str(caught.value)


def test_a_flow_of_too_many_blocks_is_refused() -> None:
    """The number of blocks is bounded, nested ones included."""
    with pytest.raises(FlowError, match="more than 20,000 blocks"):
        flow_of_table({"blocks": {"a": {"parallel": [{"sleep": 1}] * 20_001}}})


def test_a_long_chain_of_needs_is_checked_without_recursion() -> None:
    """Three thousand jobs in a row are fine."""
    blocks: dict[str, Any] = {"b0": {"sleep": 0}}
    for number in range(1, 3_000):
        blocks[f"b{number}"] = {"sleep": 0, "needs": [f"b{number - 1}"]}
    assert len(flow_of_table({"blocks": blocks}).jobs) == 3_000
    blocks["b0"]["needs"] = ["b2999"]
    with pytest.raises(FlowError, match="a cycle: b0 -> b2999 -> b2998"):
        flow_of_table({"blocks": blocks})


def test_what_ends_before_a_block_may_be_used_however_far_away_it_is() -> None:
    """An expression may use what is needed by what is needed, in any order of the file, and nothing else."""
    blocks: dict[str, Any] = {
        f"b{number}": {"shell": ["echo", "${blocks.b0.output}"], "needs": [f"b{number - 1}"]}
        for number in range(300, 0, -1)
    }
    beside = {"shell": ["echo", "${blocks.b299.output}"], "needs": ["b300"]}
    flow_of_table({"blocks": {"beside": beside, **blocks, "b0": {"sleep": 0}}})
    beside["needs"] = ["b298"]
    with pytest.raises(FlowError, match=r"block 'b299' is not in needs") as caught:
        flow_of_table({"blocks": {"beside": beside, **blocks, "b0": {"sleep": 0}}})
    assert len(caught.value.problems) == 1


def test_only_the_problems_that_are_listed_look_for_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hint is a look at all names: in a generated flow with a mistake in every block only the first cost one."""
    hints = 0

    def counting(name: str, known: Iterable[str]) -> str:
        nonlocal hints
        hints += 1
        return did_you_mean(name, known)

    for module in ("names", "needs", "params"):
        monkeypatch.setattr(f"lifecycle.scheduler._language.{module}.did_you_mean", counting)
    uses = {"shell": ["echo", "${blocks.nothing.output}", "${params.nothing}", "${steps.nothing.output}"]}
    with pytest.raises(FlowError) as caught:
        flow_of_table({"blocks": {f"b{number}": {**uses, "needs": ["nothing"]} for number in range(200)}})
    assert caught.value.problems[-1] == "flow: and 780 more problems"
    assert hints == 20


def test_a_step_is_known_to_those_after_it_also_inside_of_other_blocks() -> None:
    """The steps of a sequence share what they know: what comes later, and what is elsewhere, is not known."""
    inner = [{"name": "inner", "sleep": 0}, {"shell": ["echo", "${steps.outer.output}${steps.inner.output}"]}]
    flow_of_table({"blocks": {"a": {"sequence": [{"name": "outer", "sleep": 0}, {"sequence": inner}]}}})
    for steps, unknown in (
        ([{"sequence": inner}, {"name": "outer", "sleep": 0}], "outer"),
        ([{"name": "outer", "shell": ["echo", "${steps.outer.output}"]}], "outer"),
        ([{"sequence": inner[:1]}, {"shell": ["echo", "${steps.inner.output}"]}], "inner"),
    ):
        with pytest.raises(FlowError, match=rf"\$\{{steps\.{unknown}\.output\}}: unknown step"):
            flow_of_table({"blocks": {"a": {"sequence": steps}}})


def test_values_that_no_file_can_hold_are_refused() -> None:
    """A flow made by a program is checked as well."""
    with pytest.raises(FlowError, match="expected a string as a key, got 3"):
        flow_of_table({"blocks": {"a": {"sleep": 1, 3: 4}}})  # type: ignore[dict-item]
    with pytest.raises(FlowError, match="got a object"):
        flow_of_table({"blocks": {"a": {"sleep": object()}}})


def test_the_digest_changes_with_what_the_flow_says_and_not_with_how_it_is_written() -> None:
    """Comments and order of keys do not count; values do."""
    one = flow_of("[blocks.a]\nsleep = 1\npriority = 2")
    same = flow_of("# a comment\n[blocks.a]\npriority = 2\nsleep = 1")
    other = flow_of("[blocks.a]\npriority = 2\nsleep = 2")
    assert one.digest == same.digest != other.digest


def test_handlers_next_to_the_flow_are_found(tmp_path: Path) -> None:
    """A .py file is looked for beside the flow, wherever the process runs; its imports of itself work."""
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from lifecycle.scheduler import handler\n@dataclass\nclass D:\n    x: int\n"
        "@handler('mine.f')\ndef f(x: int): return D(x)\n"
    )
    (tmp_path / "a.toml").write_text("handlers = 'mine.py'\n[blocks.a]\ncall = 'mine.f'\nargs = [1]\n")
    assert load_flow(tmp_path / "a.toml").name == "a"


def test_handlers_come_from_several_modules_and_from_those_of_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a file, relative to where the process runs, or a name; of a package what it imports counts too."""
    for number, path in enumerate(["one.py", "two.py", "several_handlers/inner.py"]):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(
            f"from lifecycle.scheduler import handler\n@handler('several.{number}')\ndef f(): pass\n"
        )
    (tmp_path / "several_handlers" / "__init__.py").write_text("from . import inner\n")
    (tmp_path / "a.toml").write_text("".join(f"[blocks.b{n}]\ncall = 'several.{n}'\n" for n in range(3)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for _ in range(2):  # the second time they have been imported
        assert len(load_flow("a.toml", handlers=["one.py", "two.py", "several_handlers"]).jobs) == 3


def test_two_flows_may_use_one_name_for_two_handlers(tmp_path: Path) -> None:
    """The handlers of a flow's own file are its own."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(
            f"from lifecycle.scheduler import handler\n@handler('f')\ndef f(): return '{name}'\n"
        )
        (tmp_path / f"{name}.toml").write_text(f"handlers = '{name}.py'\n[blocks.a]\ncall = 'f'\n")
    flows = [load_flow(tmp_path / f"{name}.toml") for name in ("one", "two", "one")]
    assert [flow.jobs["a"].block.handler.function() for flow in flows] == ["one", "two", "one"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(: pass", "line 1"),
        ("x = 1\n1 / 0", "line 2 of bad.py: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1", "bad.py holds no handler; mark functions with @handler(NAME)"),
        ("from lifecycle.scheduler import handler\n@handler('')\ndef f(): pass", "a handler's name is a string"),
        (
            "from lifecycle.scheduler import handler\n@handler('f')\ndef f(): pass\n@handler('f')\ndef g(): pass",
            "the handler name 'f' is already taken",
        ),
    ],
)
def test_a_handler_module_that_fails_is_one_line(tmp_path: Path, code: str, message: str) -> None:
    """The line names the flow, the module, and where in it; that its handlers are unknown is not told as well."""
    (tmp_path / "bad.py").write_text(code)
    (tmp_path / "a.toml").write_text("handlers = 'bad.py'\n[blocks.a]\ncall = 'f'\n")
    with pytest.raises(FlowError) as caught:
        load_flow(tmp_path / "a.toml")
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("a.toml: handlers: bad.py")
    assert message in caught.value.problems[0]


KEYS = [*KINDS, "args", "each", "do", "needs", "width", "as", "name", "timeout", "retries", "backoff", "env", "zzz"]
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10), st.floats(-2, 2), st.text(max_size=5),
    st.sampled_from(["${item}", "${params.x}", "${blocks.a.output}", "${", "greet", "a", "${steps.s.output[0]}"]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)
DOCUMENTS = st.fixed_dictionaries(
    {"blocks": st.dictionaries(st.sampled_from(["a", "b", "c d"]), VALUES, max_size=3) | VALUES},
    optional={"params": VALUES, "name": LEAVES, "handlers": st.sampled_from([3, "", "x.py"]), "zzz": VALUES},
)


@settings(max_examples=500)
@given(DOCUMENTS)
def test_no_document_makes_the_validator_fail(document: dict[str, Any]) -> None:
    """Whatever the document says, it is a flow or a list of problems of one line each."""
    lines: tuple[str, ...] = ()
    try:
        assert flow_of_table(json.loads(json.dumps(document))).jobs
    except FlowError as error:
        lines = error.problems
        lines = lines or ("an error without a problem\n",)
    assert all("\n" not in line and len(line) < 900 for line in lines)


def test_the_example_in_the_repository_is_right() -> None:
    """The demo's flow is valid as it stands."""
    path = Path(__file__).parents[3] / "docs" / "examples" / "archive.toml"
    flow = load_flow(path)
    assert set(flow.jobs) >= {"scan", "hash", "compress", "index", "verify", "publish", "report"}
    assert tomllib.loads(path.read_text())["name"] == flow.name == "archive"
