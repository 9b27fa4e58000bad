"""Handlers of archive.toml: plain functions run in worker threads, async ones in the event loop."""

from __future__ import annotations

import hashlib
import json
import lzma
import shutil
import sqlite3
import sysconfig
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio

from lifecycle.scheduler import Context, handler

DIRECTORIES = ("parts", "listings", "published")


@handler("archive.prepare")
def prepare(directory: str, out: str, context: Context) -> dict[str, str]:
    """Decide where from and where to; the answer is kept with the job, so that a resumed run uses the same."""
    source = Path(directory) if directory else Path(sysconfig.get_path("stdlib"))
    if not source.is_dir():
        raise NotADirectoryError(f"{source} is not a directory")
    target = Path(out) if out else Path(tempfile.mkdtemp(prefix="lifecycle-archive-"))
    for name in DIRECTORIES:
        (target / name).mkdir(parents=True, exist_ok=True)
    context.log(f"the archive goes to {target}, and stays there")
    return {"directory": str(source), "out": str(target)}


@handler("archive.scan")
def scan(directory: str, pattern: str, exclude: list[str], batch: int, context: Context) -> dict[str, Any]:
    """Return the files in batches, as paths relative to the directory."""
    root = Path(directory)
    files: list[str] = []
    size = 0
    for path in sorted(root.rglob(pattern)):
        context.check()
        relative = path.relative_to(root)
        if path.is_file() and not set(exclude).intersection(relative.parts):
            files.append(relative.as_posix())
            size += path.stat().st_size
    if not files:
        raise FileNotFoundError(f"no {pattern} in {root}")
    context.log(f"{len(files):,} files, {size / 1e6:.1f} MB in {root}")
    batches = [files[start : start + batch] for start in range(0, len(files), batch)]
    return {"batches": batches, "summary": {"files": len(files), "bytes": size}}


@handler("archive.hash")
def hash_files(root: str, files: list[str], listing: str) -> str:
    """Write the SHA-256 of each file into a listing and return the listing's path."""
    hashes = [[name, (Path(root) / name).stat().st_size, sha256_of(Path(root) / name)] for name in files]
    write_whole(Path(listing), json.dumps(hashes).encode())
    return listing


@handler("archive.compress")
def compress(root: str, files: list[str], part: str) -> dict[str, Any]:
    """Write the files into one compressed part of the archive."""
    draft = Path(part).with_suffix(".draft")
    with tarfile.open(draft, "w:xz", preset=3, dereference=True) as archive:  # a link may lead out of the tree
        for name in files:
            archive.add(Path(root) / name, arcname=name, recursive=False)
    draft.replace(part)  # a part that is there is whole, whatever happened to an earlier attempt
    return {"path": part, "files": len(files), "bytes": Path(part).stat().st_size}


@handler("archive.duplicates")
def find_duplicates(listings: list[str], target: str) -> dict[str, int]:
    """Write down which files have the same content."""
    by_hash: dict[str, list[str]] = defaultdict(list)
    wasted = 0
    for name, size, digest in entries_of(listings):
        wasted += size if by_hash[digest] else 0
        by_hash[digest].append(name)
    groups = [names for names in by_hash.values() if len(names) > 1]
    write_whole(Path(target), json.dumps(groups, indent=1).encode())
    return {"groups": len(groups), "files": sum(map(len, groups)), "bytes": wasted}


@handler("archive.index")
def build_index(listings: list[str], parts: list[dict[str, Any]], database: str) -> dict[str, Any]:
    """Write an SQLite index: which file is in which part, with its size and hash."""
    draft = Path(database).with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with closing(sqlite3.connect(draft)) as db, db:
        db.execute("CREATE TABLE files (name TEXT PRIMARY KEY, size INTEGER, sha256 TEXT, part TEXT)")
        for listing, part in zip(listings, parts, strict=True):
            rows = [(*entry, part["path"]) for entry in entries_of([listing])]
            db.executemany("INSERT INTO files VALUES (?, ?, ?, ?)", rows)
        count = db.execute("SELECT count(*) FROM files").fetchone()[0]
    draft.replace(database)
    return {"database": database, "files": count, "bytes": sum(part["bytes"] for part in parts)}


@handler("archive.verify")
def verify(part: str, database: str) -> int:
    """Read one part back and compare every file in it with the index; return how many there are."""
    with closing(sqlite3.connect(f"{Path(database).as_uri()}?mode=ro", uri=True)) as db:
        expected = dict(db.execute("SELECT name, sha256 FROM files WHERE part = ?", (part,)))
    count = len(expected)
    with lzma.open(part) as stream, tarfile.open(fileobj=stream) as archive:
        for member in archive:
            content = archive.extractfile(member)
            found = hashlib.sha256(content.read() if content else b"").hexdigest()
            if expected.pop(member.name, None) != found:
                raise ValueError(f"{member.name} in {part} is not what was archived")
    if expected:
        raise ValueError(f"{part} lacks {sorted(expected)}")
    return count


@handler("archive.publish")
async def publish(out: str, failures: int, context: Context) -> dict[str, Any]:
    """Copy the index to the storage, which is out of order for the first attempts: truly, and on the record."""
    record = Path(out) / "publish-attempts.txt"
    attempts = await anyio.to_thread.run_sync(note_attempt, record)
    if attempts <= failures:
        raise ConnectionError(f"the storage is out of order (attempt {attempts}, on the record in {record.name})")
    published = await anyio.to_thread.run_sync(shutil.copy2, Path(out) / "index.sqlite", Path(out) / "published")
    context.log(f"published at attempt {attempts}")
    return {"path": str(published), "attempts": attempts}


@handler("archive.report")
def write_report(
    out: str,
    directory: str,
    scan: dict[str, int],
    index: dict[str, Any],
    duplicates: dict[str, int],
    verified: list[int],
    attempts: int,
    checksum: str,
    parts: str,
    context: Context,
) -> dict[str, Any]:
    """Write the report and return its path."""
    if not sum(verified) == index["files"] == scan["files"]:
        raise ValueError(f"scanned {scan['files']}, indexed {index['files']}, verified {sum(verified)} files")
    lines = [
        f"# Archive of {directory}",
        "",
        f"- files: {scan['files']:,}, {scan['bytes']:,} bytes",
        f"- archive: {int(parts)} parts, {index['bytes']:,} bytes ({index['bytes'] / max(scan['bytes'], 1):.0%})",
        f"- verified by reading back: {sum(verified):,} files",
        f"- duplicates: {duplicates['files']:,} files in {duplicates['groups']:,} groups",
        f"- published at attempt {attempts}",
        f"- checksum of the index: {checksum.split()[0]}",
        "",
    ]
    report = Path(out) / "report.md"
    write_whole(report, "\n".join(lines).encode())
    context.log(f"report: {report}")
    return {"report": str(report), "files": scan["files"]}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def entries_of(listings: list[str]) -> Iterator[tuple[str, int, str]]:
    """Yield name, size and hash of every file in the listings."""
    for listing in listings:
        yield from json.loads(Path(listing).read_text())


def note_attempt(record: Path) -> int:
    """Write down one more attempt and return how many there have been."""
    with record.open("a") as file:
        file.write("attempt\n")
    return len(record.read_text().splitlines())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(content)
    draft.replace(path)
