"""The files of the project: those under version control, so that work in progress disturbs nobody."""

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
    """Return the modules that lie directly in the package, such as ``lifecycle/_scope.py``."""
    return sorted(str(p.relative_to(ROOT)) for p in tracked() if p.parent == ROOT / "lifecycle" and p.suffix == ".py")
