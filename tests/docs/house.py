"""The house as it stands: a picture of its rooms and a list of what is in them; ``make house`` draws both anew.

The floors are those of the import contracts in pyproject.toml, the arrows are the imports themselves, those for type
checkers included. An arrow that follows from others (a room that knows one that knows a third) is left out.
"""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path

from ..tracked import ROOT, tracked

CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PICTURE = ROOT / "docs" / "explanation" / "house.svg"

BEGIN = "<!-- house: written by `make house` from the first line of each room and file -->\n"
END = "<!-- end of house -->\n"

PACKAGE = ROOT / "lifecycle"

#: What is drawn, and what each part is called.
PARTS = {"lifecycle": "the core", "lifecycle.scheduler": "the scheduler", "lifecycle.testing": "the test kit"}

Floors = list[list[str]]
Edges = dict[str, set[str]]


# What there is


def floors(part: str) -> Floors:
    """Return the rooms of a part, floor by floor from the top, as the import contracts have them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract.get("containers") == [part])
    return [[room.strip() for room in layer.split("|")] for layer in layers]


def modules() -> dict[str, Path]:
    """Return the modules of the package by name."""
    found = {}
    for path in tracked():
        if path.suffix == ".py" and path.is_relative_to(PACKAGE):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(module: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of the package that a module imports, wherever in it."""
    here = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{source}.{alias.name}"
                yield name if name in known else source


@cache
def edges(part: str) -> Edges:
    """Return which rooms of a part each of its rooms imports."""
    known = modules()
    found: Edges = defaultdict(set)
    depth = part.count(".") + 1
    for module, path in known.items():
        if module.startswith(f"{part}."):
            room = module.split(".")[depth]
            for name in imports_of(module, path, known):
                if name.startswith(f"{part}.") and name.split(".")[depth] != room:
                    found[room].add(name.split(".")[depth])
    return found


def reduced(graph: Edges) -> Edges:
    """Return *graph* without the arrows that follow from others."""

    def below(room: str) -> set[str]:
        return {further for next_room in graph.get(room, ()) for further in {next_room, *below(next_room)}}

    return {
        room: {target for target in targets if not any(target in below(other) for other in targets - {target})}
        for room, targets in graph.items()
    }


# The picture

WIDTH, HEIGHT, GAP, FLOOR, MARGIN = 104, 30, 14, 66, 24

STYLE = """<style>
  text { font: 12px sans-serif; fill: #1f2328; text-anchor: middle }
  .part { font-weight: bold; text-anchor: start }
  rect { fill: #f6f8fa; stroke: #57606a; rx: 5 }
  line { stroke: #8c959f; marker-end: url(#tip) }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } rect { fill: #161b22; stroke: #8b949e } line { stroke: #6e7681 }
  }
</style>
<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">
  <path d="M0 0L8 4L0 8z" fill="#8c959f"/>
</marker>"""


def drawn(part: str, left: int) -> tuple[list[str], int, int]:
    """Return the drawing of a part from *left* on, its width and its height."""
    plan = floors(part)
    width = max(len(rooms) for rooms in plan) * (WIDTH + GAP) - GAP
    places = {}
    for number, rooms in enumerate(plan):
        start = left + (width - len(rooms) * (WIDTH + GAP) + GAP) // 2
        for position, room in enumerate(rooms):
            places[room] = (start + position * (WIDTH + GAP), 2 * MARGIN + number * FLOOR)
    lines = [f'<text class="part" x="{left}" y="{MARGIN}">{escape(PARTS[part])}</text>']
    for room, targets in sorted(reduced(edges(part)).items()):
        for target in sorted(targets):
            (x1, y1), (x2, y2) = places[room], places[target]
            ends = f'x1="{x1 + WIDTH // 2}" y1="{y1 + HEIGHT}" x2="{x2 + WIDTH // 2}" y2="{y2}"'
            lines.append(f"<line {ends}/>")
    for room, (x, y) in places.items():
        lines.append(f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}"/>')
        lines.append(f'<text x="{x + WIDTH // 2}" y="{y + HEIGHT // 2 + 4}">{escape(room)}</text>')
    return lines, width, 2 * MARGIN + len(plan) * FLOOR


def picture() -> str:
    """Return the picture of all parts, side by side."""
    lines, left, height = [], MARGIN, 0
    for part in PARTS:
        drawing, width, tall = drawn(part, left)
        lines += drawing
        left += width + 2 * MARGIN
        height = max(height, tall)
    size = f'viewBox="0 0 {left} {height}" width="{left}" height="{height}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', STYLE, *lines, "</svg>\n"])


# The list


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring."""
    documentation = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return (documentation or "").partition("\n")[0].replace("``", "`").replace("|", "\\|")


def rows(part: str) -> Iterator[str]:
    """Yield a line for each room of a part, from the top floor down, with its files."""
    folder = PACKAGE.joinpath(*part.split(".")[1:])
    for room in (room for rooms in floors(part) for room in rooms):
        place = folder / room
        if f"{part}.{room}" in PARTS:
            continue
        if not place.is_dir():
            yield f"| `{place.relative_to(ROOT)}.py` | {first_line(place.with_suffix('.py'))} | |\n"
            continue
        files = sorted(path.stem for path in place.glob("*.py") if path.name != "__init__.py")
        yield f"| `{place.relative_to(ROOT)}/` | {first_line(place / '__init__.py')} | {', '.join(files)} |\n"


def table() -> str:
    """Return the list of all rooms."""
    head = "| room | what it is | its files |\n|---|---|---|\n"
    return "\n" + "\n".join(f"**{title}**\n\n{head}{''.join(rows(part))}" for part, title in PARTS.items()) + "\n"


def written() -> str:
    """Return the list that stands in CONTRIBUTING.md."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    return text.partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    """Draw the picture, and write the list into CONTRIBUTING.md."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    CONTRIBUTING.write_text(before + BEGIN + table() + END + after, encoding="utf-8")
    PICTURE.write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
