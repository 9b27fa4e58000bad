"""The files of the project: those under version control, so that work in progress fails no test."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]

_PARTS = ("lifecycle", "tests", "docs", "benchmarks")


def tracked() -> list[Path]:
    """Return the files under version control; of an unpacked archive, all that are part of the project."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]
    found = [path for part in _PARTS for path in (ROOT / part).rglob("*") if "__pycache__" not in path.parts]
    return [path for path in found + list(ROOT.glob("*.*")) if path.is_file()]


def core_modules() -> list[str]:
    """Return the modules of the core: directly in the package, or in one of its private rooms."""
    package = ROOT / "lifecycle"
    modules = [path for path in tracked() if path.suffix == ".py" and path.is_relative_to(package)]
    rooms = [path for path in modules if path.parent == package or _is_private_room(path.parent.relative_to(package))]
    return sorted(str(path.relative_to(ROOT)) for path in rooms)


def _is_private_room(folder: Path) -> bool:
    return len(folder.parts) == 1 and folder.name.startswith("_")
