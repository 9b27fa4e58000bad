"""The house stays in order: short files, tests for each room, honest contracts, nothing of one machine is shared."""

import re
import statistics
from pathlib import Path

import pytest

from .tracked import ROOT, tracked

#: No file of the package is longer than this.
MOST_LINES = 450

#: What nine files in ten stay under.
GOAL = 300

#: No file of the tests is longer than this.
MOST_LINES_OF_TESTS = 600

_TEXT = {".cfg", ".ini", ".json", ".md", ".py", ".sh", ".sql", ".svg", ".toml", ".txt", ".typed", ".yaml", ".yml", ""}

#: What one machine, or one way of getting packages, leaves behind in a text.
_FORBIDDEN = {
    "a home directory": re.compile(r"(?<![\w./<])/(?:home|Users)/\w+|(?<![\w./<])/root\b(?!\w)"),
    "a working directory of one machine": re.compile(r"(?<![\w./<])/(?:work|workspace|mnt|srv)/\w+"),
    "a temporary directory of one machine": re.compile(r"(?<![\w./<])/tmp/\w+"),
    "a package index": re.compile(
        r"https?://[\w.-]*(?:pypi|pythonhosted|artifactory|nexus|devpi|npmjs|crates\.io)[\w.-]*", re.IGNORECASE
    ),
    "a setting of where packages come from": re.compile(r"--(?:extra-)?index-url|--find-links|--trusted-host"),
}

#: Words that these patterns must find, and harmless ones that they must not: the check is itself checked.
_SAMPLES = {
    "/home/ann/project": True,
    "see /root/.cache": True,
    "in /work/tree": True,
    "/tmp/pytest-1": True,
    "https://files.pythonhosted.org/packages": True,
    "pip install --index-url x": True,
    "docs/home/page": False,
    "a/root/b": False,
    "</root>": False,
    "https://docs.python.org/3": False,
}


def package_files() -> dict[str, int]:
    """Return the length of each file of the package."""
    paths = [path for path in tracked() if path.suffix == ".py" and path.is_relative_to(ROOT / "lifecycle")]
    return {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}


def rooms() -> list[Path]:
    """Return the rooms of the package, and those of the scheduler, as paths inside the package."""
    package = ROOT / "lifecycle"
    inside = [path.relative_to(package).parent for path in tracked() if path.is_relative_to(package)]
    return sorted(
        {room for room in inside if len(room.parts) == 1 or (len(room.parts) == 2 and room.parts[0] == "scheduler")}
    )


def complaints(text: str) -> list[str]:
    """Return what of one machine is in a text."""
    return [f"{what}: {found.group()}" for what, pattern in _FORBIDDEN.items() for found in pattern.finditer(text)]


def test_files_are_short() -> None:
    """No file is longer than the rule; most are far below it."""
    lengths = package_files()
    assert not {name: n for name, n in lengths.items() if n > MOST_LINES}
    assert statistics.median(lengths.values()) <= 200
    assert sum(n > GOAL for n in lengths.values()) <= len(lengths) / 10


def test_files_of_tests_are_short() -> None:
    """One subject each."""
    paths = [path for path in tracked() if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert not {name: n for name, n in lengths.items() if n > MOST_LINES_OF_TESTS}


@pytest.mark.parametrize("room", rooms(), ids=str)
def test_every_room_has_its_tests(room: Path) -> None:
    """In a folder of the same name, without the underscore."""
    folder = ROOT.joinpath("tests", *(part.removeprefix("_") for part in room.parts))
    assert any(path.parent == folder and path.name.startswith("test_") for path in tracked())


def test_the_face_only_hands_names_on() -> None:
    """``lifecycle/__init__.py`` is short, and its ``__all__`` is sorted."""
    import lifecycle

    assert package_files()["lifecycle/__init__.py"] <= 120
    assert lifecycle.__all__ == sorted(lifecycle.__all__)


def test_every_file_says_what_it_is() -> None:
    """The first line of each module begins its docstring."""
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in package_files()}
    silent = [name for name, text in texts.items() if not text.startswith(('"""', 'r"""'))]
    assert not silent


@pytest.mark.parametrize(("text", "guilty"), _SAMPLES.items())
def test_the_search_for_traces_of_a_machine_finds_them(text: str, guilty: bool) -> None:
    """The patterns find what they are for, and nothing else."""
    assert bool(complaints(text)) is guilty


def test_nothing_of_one_machine_is_shared() -> None:
    """No tracked file names a directory of one machine or a place where packages come from."""
    guilty = {}
    for path in tracked():
        if path.suffix in _TEXT and path != Path(__file__):
            found = complaints(path.read_text(encoding="utf-8", errors="replace"))
            if found:
                guilty[str(path.relative_to(ROOT))] = found
    assert not guilty


def test_no_lock_file_and_nothing_big_is_tracked() -> None:
    """Versions are bounded in pyproject.toml, and generated data stays out."""
    names = {path.name for path in tracked()}
    assert not names & {"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "pylock.toml"}
    assert not [str(path) for path in tracked() if path.stat().st_size > 1_000_000]
