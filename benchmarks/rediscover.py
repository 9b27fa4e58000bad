"""Which published defects does the kit find again, and is it silent on the versions that fixed them?

    python benchmarks/rediscover.py [--keep DIR] [--only WORD] [--report]

Each package is installed from the registry, at the version named, into a virtual environment of its own; nothing is
vendored and no case knows what is wrong: each is a scenario that a user of the package would write, struck by plain
cancellations at every point, in asyncio's own order and then under 40 random ones. Needs python3.11, python3.12 and
python3.13 for the rows about asyncio itself; a row whose interpreter is missing is reported as not run.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CASES = Path(__file__).parent / "rediscover_cases"
ANYIO = "anyio==4.16.0"


@dataclass(frozen=True)
class Row:
    """One package at one version, and whether the defect is expected there."""

    label: str
    case: str
    packages: tuple[str, ...]
    defect: bool
    upstream: str
    python: str = "3.12"


ROWS = [
    Row("redis 4.5.3", "redis_get", ("redis==4.5.3", ANYIO), True, "redis-py#2665, CVE-2023-28859"),
    Row("redis 4.5.4", "redis_get", ("redis==4.5.4", ANYIO), False, "fixed"),
    Row("httpcore 1.0.9", "httpcore_pool", ("httpcore==1.0.9", ANYIO), True, "httpcore#1093, open"),
    Row("httpcore 0.18.0", "httpcore_request", ("httpcore==0.18.0", "anyio==3.7.1"), True, "httpcore#785, #830"),
    Row("httpcore 1.0.9", "httpcore_request", ("httpcore==1.0.9", ANYIO), True, "httpcore#1093, open"),
    Row("anyio 4.15.1", "anyio_connect", ("anyio==4.15.1",), True, "late connect result lost"),
    Row("anyio 4.16.0", "anyio_connect", (ANYIO,), False, "fixed"),
    Row("anyio 4.9.0", "anyio_limiter", ("anyio==4.9.0",), True, "anyio#947"),
    Row("anyio 4.10.0", "anyio_limiter", ("anyio==4.10.0",), False, "fixed"),
    Row("anyio 4.12.1", "anyio_condition", ("anyio==4.12.1",), True, "anyio#1075"),
    Row("anyio 4.13.0", "anyio_condition", ("anyio==4.13.0",), False, "fixed"),
    Row("anyio 4.13.0", "anyio_lock", ("anyio==4.13.0",), True, "anyio#1145"),
    Row("anyio 4.14.0", "anyio_lock", ("anyio==4.14.0",), False, "fixed"),
    Row("CPython 3.11", "asyncio_condition", (ANYIO,), True, "gh-112202", "3.11"),
    Row("CPython 3.12", "asyncio_condition", (ANYIO,), True, "gh-112202, fixed in 3.12.2", "3.12"),
    Row("CPython 3.13", "asyncio_condition", (ANYIO,), False, "fixed", "3.13"),
    Row("CPython 3.11", "asyncio_wait_for", (ANYIO,), True, "gh-86296", "3.11"),
    Row("CPython 3.12", "asyncio_wait_for", (ANYIO,), False, "fixed", "3.12"),
]


@functools.cache
def find_interpreter(version: str) -> str | None:
    """Find a Python of this version: our own, one of the project's environments, or one on the PATH."""
    project = Path(__file__).parent.parent
    for candidate in (sys.executable, project / f".venv-{version}/bin/python", shutil.which(f"python{version}")):
        if candidate is None:
            continue
        with contextlib.suppress(OSError):
            asked = [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            answer = subprocess.run(asked, capture_output=True, text=True, check=False)
            if answer.stdout.strip() == version:
                return str(candidate)
    return None


def environment(row: Row, keep: Path) -> Path | None:
    """Make, or find again, the virtual environment of a row; return its interpreter."""
    interpreter = find_interpreter(row.python)
    if interpreter is None:
        return None
    place = keep / "-".join((row.python, *row.packages)).replace("==", "-")
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        subprocess.run([interpreter, "-m", "venv", str(place)], check=True, capture_output=True)
        command = [str(python), "-m", "pip", "install", "-q", *row.packages, "typing-extensions"]
        subprocess.run(command, check=True, capture_output=True)
        (place / "ready").touch()
    return python


def run(row: Row, keep: Path, report: bool) -> dict[str, Any] | None:
    """Run a row's case in its environment."""
    python = environment(row, keep)
    if python is None:
        return None
    command = [str(python), str(CASES / "run.py"), row.case, *(["--report"] if report else [])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CASES, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1] if done.stderr else "no output"}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def describe(row: Row, answer: dict[str, Any] | None) -> tuple[str, bool]:
    """Return a row of the table, and whether it came out as expected."""
    head = f"{row.label:16} {row.case:18}"
    if answer is None:
        return f"{head} not run: no python{row.python} on the PATH", True
    if "error" in answer:
        return f"{head} broke: {answer['error']}", False
    found = answer["failed"] > 0
    verdict = "FOUND" if found else "silent"
    as_expected = found == row.defect and answer.get("replayed", True)
    line = f"{head} {verdict:6} {answer['points']:4} points {answer['failed']:4}/{answer['runs']:<5} runs"
    line += f" in {answer['orders']:2} order(s)"
    if found:
        line += f"  first: run {answer['first_run']}, {answer['first_ms']:.0f} ms"
    line += f"  [{row.upstream}]" + ("" if as_expected else "  <-- NOT AS EXPECTED")
    if found:
        line += f"\n{'':17}{answer['says']}\n{'':17}{answer['token']}"
    if answer["report"]:
        line += "\n" + answer["report"]
    return line, as_expected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="keep the environments here, and use them again")
    parser.add_argument("--only", default="", help="only rows whose label or case contains this word")
    parser.add_argument("--report", action="store_true", help="print the whole report of each row")
    options = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        keep = options.keep or Path(temporary)
        for row in ROWS:
            if options.only not in f"{row.label} {row.case}":
                continue
            began = time.perf_counter()
            line, as_expected = describe(row, run(row, keep, options.report))
            good = good and as_expected
            print(line, f"({time.perf_counter() - began:.1f} s)", flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
