"""The documentation knows every public name, every file, and every test that it speaks of."""

import inspect
import re
from pathlib import Path

import pytest

import lifecycle
import lifecycle.hooks
import lifecycle.scheduler.control
import lifecycle.scheduler.errors
import lifecycle.scheduler.web
import lifecycle.testing.faults
import lifecycle.testing.machines
import lifecycle.testing.orders
import lifecycle.testing.types
import lifecycle.types

from ..tracked import ROOT, tracked
from . import house
from .markdown import DOCUMENTS, anchors_of, links_of

GUARANTEES = ROOT / "docs" / "explanation" / "guarantees.md"

#: What the faces of the core export, by name.
PUBLIC = {name: getattr(face, name) for face in (lifecycle, lifecycle.hooks, lifecycle.types) for name in face.__all__}

OTHER_FACES = (
    lifecycle.scheduler,
    lifecycle.scheduler.control,
    lifecycle.scheduler.errors,
    lifecycle.scheduler.web,
    lifecycle.testing,
    lifecycle.testing.faults,
    lifecycle.testing.machines,
    lifecycle.testing.orders,
    lifecycle.testing.types,
)

#: The numbers of the guarantees that have their place in the documentation.
NUMBERS = tuple(range(1, 25))

_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def reference() -> str:
    """Return the text of all reference pages."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/reference/*.md")))


def guarantees() -> dict[int, str]:
    """Return the text under each guarantee's heading, by number."""
    parts = re.split(r"^### G(\d+): ", GUARANTEES.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_every_public_name_is_in_the_reference() -> None:
    """Whatever a face exports, those of the kit and the scheduler included, has its place in docs/reference/."""
    text = reference()
    names = [*PUBLIC, *(name for face in OTHER_FACES for name in face.__all__)]
    assert not [name for name in names if not re.search(rf"\b{name}\b", text)]


def test_every_public_name_is_in_the_changelog() -> None:
    """Whatever a face of the core exports is named in the changelog."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert not [name for name in PUBLIC if f"`{name}`" not in text]


def test_every_public_member_is_in_the_reference() -> None:
    """Each public method and attribute of a public class has its place as well."""
    text = reference()
    members = {
        f"{name}.{member}"
        for name, thing in PUBLIC.items()
        if inspect.isclass(thing)
        for member in vars(thing)
        if not member.startswith("_")
    }
    assert not sorted(member for member in members if not re.search(rf"\b{member.partition('.')[2]}\b", text))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Each relative link names a file that is there, and each anchor a heading in it."""
    dead = []
    for link in links_of(path):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            dead.append(link)
    assert not dead


def test_every_page_is_in_the_index() -> None:
    """No page hides: each can be reached from docs/index.md."""
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links_of(index)}
    pages = set(ROOT.glob("docs/*/**/*.md"))
    assert not [str(page.relative_to(ROOT)) for page in sorted(pages - linked)]


def test_the_guarantees_are_complete() -> None:
    """Each guarantee has its place, and either says that it is still to come or names tests."""
    texts = guarantees()
    assert sorted(texts) == list(NUMBERS)
    assert not [f"G{number}" for number, text in texts.items() if "*Coming" not in text and not _TEST.search(text)]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_tests_of_a_guarantee_exist(number: int) -> None:
    """A guarantee that is promised names tests, and each of them is there."""
    missing = []
    for name, test in _TEST.findall(guarantees()[number]):
        path = ROOT / name
        if not path.exists() or not re.search(
            rf"^ *(async )?def {test}\(", path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            missing.append(f"{name}::{test}")
    assert not missing


def test_the_house_is_described_as_it_stands() -> None:
    """CONTRIBUTING.md lists every room with its files; `make house` writes the list."""
    assert house.written() == house.table(), "the list of rooms is out of date: run `make house`"


def test_the_house_is_drawn_as_it_stands() -> None:
    """The picture shows the rooms on the floors of the import contracts, and the imports between them."""
    assert house.PICTURE.read_text(encoding="utf-8") == house.picture(), "out of date: run `make house`"
    assert "house.svg" in house.CONTRIBUTING.read_text(encoding="utf-8")


def test_no_arrow_of_the_house_leads_up() -> None:
    """An arrow that leads up, or to a room beside, would be drawn as if it led down."""
    for part in house.PARTS:
        floor_of = {room: number for number, rooms in enumerate(house.floors(part)) for room in rooms}
        found = house.edges(part)
        assert found
        assert not [
            (room, target)
            for room, targets in found.items()
            for target in targets
            if floor_of[target] <= floor_of[room]
        ]


def test_every_folder_is_described() -> None:
    """CONTRIBUTING.md names every folder of the project's first level, and nothing that is not there."""
    text = house.CONTRIBUTING.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:lifecycle|tests|benchmarks|docs|\.ci)/[\w./-]*)`", text))
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]
    rooms = {f"lifecycle/{path.parent.name}/" for path in tracked() if path.parent.parent == ROOT / "lifecycle"}
    assert not sorted(rooms - named)


def test_the_readme_names_the_two_commands() -> None:
    """What .ci/run runs is what the README tells the reader to run."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "$ make demo\n$ make test\n" in readme
    assert re.search(r"make (--no-print-directory )?test ", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
