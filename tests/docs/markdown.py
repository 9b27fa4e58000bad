"""The fenced blocks and the links of a Markdown file."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Every document whose examples are run.
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^`]*)$")
_TITLE = re.compile(r'title="([^"]+)"')
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: the first word of its info string, empty when there is none.
        title: the file name that ``title="..."`` gives it, None otherwise.
        line: the line of its first line of text, counted from 1.
        text: what is in it, without its indentation.
    """

    path: Path
    language: str
    title: str | None
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks_of(path: Path) -> list[Block]:
    """Return the fenced blocks of a document, in order."""
    blocks = []
    lines = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        opening = _FENCE.match(line)
        if opening is None:
            continue
        indent, fence, info = opening.group("indent", "fence", "info")
        body = []
        for _, inner in lines:
            if inner.strip() == fence:
                break
            body.append(inner.removeprefix(indent) + "\n")
        else:
            raise AssertionError(f"{path}:{number}: the block is never closed")
        title = _TITLE.search(info)
        language = info.split()[0] if info.split() else ""
        blocks.append(Block(path, language, title and title.group(1), number + 1, "".join(body)))
    return blocks


def links_of(path: Path) -> list[str]:
    """Return the targets of a document's links and images, outside of blocks."""
    text = re.sub(r"^( *)(`{3,}).*?^ *\2$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [first or second for first, second in _LINK.findall(text)]


def anchors_of(path: Path) -> set[str]:
    """Return the anchors that the headings of a document have on GitHub."""
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ +(.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
