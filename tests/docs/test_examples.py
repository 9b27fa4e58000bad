"""Every example of every document runs, and prints what the document shows."""

import tomllib
from pathlib import Path

import pytest

from .evaluation import evaluate, opened
from .markdown import DOCUMENTS, ROOT, Block, blocks_of

#: The languages that a block may be in; those in the second line are shown and not run.
LANGUAGES = {"python", "output", "console", "toml"} | {"text", "json", "mermaid", "sql", "promql", "yaml", "ini"}


def validate_toml(block: Block) -> None:
    """Check a TOML block; one with blocks in it is a flow."""
    tomllib.loads(block.text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_examples_of_a_document_run(
    path: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of a document run in order in one loop, print what is shown, and leave no task behind."""
    if any('os.environ["LIFECYCLE_DB"]' in block.text for block in blocks_of(path)):
        monkeypatch.setenv("LIFECYCLE_DB", request.getfixturevalue("database"))
    with opened(tmp_path) as document:
        evaluate(blocks_of(path), document, validate_toml)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_says_its_language(path: Path) -> None:
    """No block escapes the tests through a misspelt or missing language."""
    unknown = [f"{block}: {block.language!r}" for block in blocks_of(path) if block.language not in LANGUAGES]
    assert not unknown
