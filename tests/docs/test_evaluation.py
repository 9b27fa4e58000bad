"""The evaluator of the documentation fails where an example is wrong."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .evaluation import evaluate, opened
from .markdown import ROOT, Block, anchors_of, blocks_of, links_of
from .test_examples import validate_toml

Check = Callable[[str], None]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Return a function that evaluates a document of the given text."""

    def run(text: str) -> None:
        path = tmp_path / "document.md"
        path.write_text(text)
        directory = tmp_path / "directory"
        directory.mkdir()
        with opened(directory) as document:
            evaluate(
                [Block(ROOT / "x.md", b.language, b.title, b.line, b.text) for b in blocks_of(path)],
                document,
                validate_toml,
            )

    return run


def test_blocks_share_a_namespace_and_a_loop(check: Check) -> None:
    """A task started in one block is awaited in the next."""
    check(
        """
```python
import asyncio

async def answer():
    return 42

pending = asyncio.ensure_future(answer()) if await asyncio.sleep(0, True) else None
```
```python
print(await pending)
```
```output
42
```
"""
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```python\nprint(1)\n```\n```output\n2\n```\n", "shows\n2\n\nbut prints\n1"),
        ("```output\n2\n```\n", "no example that could print this"),
        ("```console\n$ echo one\ntwo\n```\n", "shows\ntwo\n"),
        ("```console\n$ exit 3\n```\n", "exited with 3"),
        ("```console\n$ make nothing\n```\n", "no such target"),
        (
            """```python
import asyncio
left = asyncio.ensure_future(asyncio.sleep(9)) if await asyncio.sleep(0, True) else None
```
""",
            "left tasks behind",
        ),
    ],
)
def test_a_wrong_example_is_found(check: Check, text: str, complaint: str) -> None:
    """Output that differs, a failing command, a missing target and a task that is left over are all failures."""
    with pytest.raises(AssertionError, match=re.escape(complaint)):
        check(text)


def test_an_error_names_the_line_of_the_document(check: Check) -> None:
    """The traceback of a failing example points into the document."""
    with pytest.raises(ZeroDivisionError) as caught:
        check("# Title\n\n```python\nfirst = 1\n1 / 0\n```\n")
    assert caught.traceback[-1].lineno == 5 - 1


def test_what_an_example_sets_for_the_process_is_set_back(check: Check) -> None:
    """A document that silences the logs, or goes elsewhere, does so for itself only."""
    before = Path.cwd()
    check(
        "```python\nimport logging, os\nlogging.disable(logging.ERROR)\nos.chdir('/')\n"
        "logging.getLogger('lifecycle').addHandler(logging.NullHandler())\n```\n"
    )
    assert logging.root.manager.disable == logging.NOTSET
    assert not logging.getLogger("lifecycle").handlers
    assert Path.cwd() == before


def test_a_titled_block_is_a_file_for_a_command(check: Check) -> None:
    """A block with a title is written and not run; a later command runs it."""
    check('```python title="it.py"\nprint("from a file")\n```\n```console\n$ python it.py\nfrom a ...\n```\n')


def test_links_and_anchors_are_found_outside_of_blocks(tmp_path: Path) -> None:
    """What looks like a link or a heading inside a block is none."""
    path = tmp_path / "document.md"
    path.write_text("# One Two: `three`\n[a](b.md) ![c](d.png)\n```text\n[e](f.md)\n```\n")
    assert links_of(path) == ["b.md", "d.png"]
    assert "one-two-three" in anchors_of(path)
