"""From a file or a table to a flow: everything is checked here, before anything runs or is written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._blocks import read_block
from .._blocks.flow import Flow
from .._blocks.reader import BlockReader, FlowReading
from .._ground.errors import PathNotAllowed
from .._ground.text import quote
from .._language.chain import chain_of, chain_problem
from .._language.document import Table, check_plain, read_document
from .._language.params import Param, read_params
from .._language.paths import Boundary
from .._language.problems import Problems
from .._language.table import NAME, TableReader
from .._store.pace import UNBOUNDED, Bound
from .._work.handlers import HandlerTable, registered_handlers
from .._work.loading import HandlerModuleError, load_handlers
from .jobs import read_jobs
from .schedule import read_overlap, read_schedule


def load_flow(
    path: str | os.PathLike[str],
    *,
    handlers: str | Sequence[str] | None = None,
    allow_paths: Iterable[str | os.PathLike[str]] = (),
) -> Flow:
    """Return the flow in the file at *path*, read as JSON when its name ends in ``.json``, else as TOML.

    The module that the flow names in ``handlers`` is imported, which runs its top level.

    Args:
        path: the flow file.
        handlers: a handler module (a ``.py`` path relative to the current directory, or a dotted name), or several,
            whose handlers are added to the flow's own.
        allow_paths: directories outside of the flow's own that its paths may lead to, besides those that it allows
            itself.

    Raises:
        FlowError: the file cannot be read, or the flow is not valid; the error lists all problems found.
    """
    path = Path(path)
    document = read_document(path)
    return flow_of_table(
        document,
        source=path.name,
        directory=path.absolute().parent,
        path=path.absolute(),
        handlers=handlers,
        allow_paths=allow_paths,
    )


def flow_of_table(
    document: Table,
    *,
    source: str = "flow",
    directory: Path | None = None,
    path: Path | None = None,
    handlers: str | Sequence[str] | HandlerTable | None = None,
    allow_paths: Iterable[str | os.PathLike[str]] = (),
) -> Flow:
    """Return the flow that a plain table describes.

    Args:
        document: tables, lists, strings, numbers and booleans only.
        source: what messages call it; its stem is the name of a flow that has none.
        directory: what relative paths in it are relative to, by default the current directory.
        path: the file it was read from, if any.
        handlers: further handlers, as a table or as modules to load.
        allow_paths: directories outside of the flow's own that its paths may lead to.

    Raises:
        TypeError: it is no table.
        FlowError: the flow is not valid; the error lists all problems found.
    """
    if not isinstance(document, Mapping):
        raise TypeError(f"expected the table of a flow, got {document!r}")
    problems = Problems(source)
    origin = Origin(source, directory or Path.cwd(), path)
    flow = _read(document, origin, problems, handlers, tuple(Path(place).absolute() for place in allow_paths))
    problems.raise_if_any()
    return flow


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a flow comes from.

    Attributes:
        source: what messages call it.
        directory: what relative paths in it are relative to.
        path: the file, if any.
    """

    source: str
    directory: Path
    path: Path | None


def _read(
    document: Table,
    origin: Origin,
    problems: Problems,
    handlers: str | Sequence[str] | HandlerTable | None,
    allowed: tuple[Path, ...],
    around: BlockReader | None = None,
) -> Flow:
    """Return the flow that a table describes, of use only when no problem was found; *around* is what runs it."""
    check_plain(document, "", problems)
    problems.raise_if_any()
    reader = TableReader(document, "", problems)
    boundary = Boundary(origin.directory, (*allowed, *_read_allowed(reader, origin.directory)))
    name = _read_name(reader, origin.source)
    description = reader.text("description")
    params = _read_params(reader, boundary)
    reading = FlowReading(
        problems=problems,
        handlers=_read_handlers(reader, boundary, handlers),
        boundary=boundary,
        read_block=read_block,
        load_subflow=_load_subflow,
    )
    if around is not None:
        reading.go_inside(around)
    reading.chain = chain_of(origin.path, reading.chain)
    jobs = read_jobs(reader, params, reading)
    schedule = read_schedule(reader, params)
    bound = Bound(*read_overlap(reader, "flow"))
    reader.finish()
    return Flow(
        name=name,
        description=description,
        source=origin.source,
        path=origin.path,
        directory=origin.directory,
        digest=_digest(document, reading.digests),
        params=params,
        jobs=jobs,
        secrets=tuple(reading.secrets),
        schedule=schedule,
        bound=bound,
    )


def _digest(document: Table, subflows: list[str]) -> str:
    # An unfinished run may go on when only the time of the next one was changed, or how many may go on beside it.
    does = {key: value for key, value in document.items() if key not in ("schedule", "max_instances", "overlap")}
    text = json.dumps(does, sort_keys=True) + "".join(subflows)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _load_subflow(reader: BlockReader, name: str) -> Flow | None:
    """Return the flow in the file that a block names; None after a problem, which has been reported."""
    try:
        path = reader.flow.boundary.inside(name, "the path")
        problem = chain_problem(reader.flow.chain, path)
        if problem:
            reader.problem("subflow", problem)
            return None
        if not reader.flow.count_subflow(reader.path):
            return None
        problems = Problems(path.name)
        flow = _read(
            read_document(path),
            Origin(path.name, path.absolute().parent, path.absolute()),
            problems,
            reader.flow.handlers,
            reader.flow.boundary.allowed,
            around=reader,
        )
        problems.raise_if_any()
        if flow.bound != UNBOUNDED:
            reader.problem("subflow", f"{path.name} has 'max_instances', which is for a flow that runs by itself")
        if any(spec.last or spec.when != "success" or spec.tolerates for spec in flow.jobs.values()):
            reader.problem(
                "subflow", f"{path.name} has 'finally', 'when' or 'may_fail', which are for the outermost flow"
            )
    except (PathNotAllowed, ValueError) as error:
        for line in str(error).splitlines():
            reader.problem("subflow", line)
        return None
    reader.flow.digests.append(flow.digest)
    reader.flow.secrets.extend(flow.secrets)
    return flow


def _read_name(reader: TableReader, source: str) -> str:
    name = reader.text("name", Path(source).stem)
    if "name" in reader and not NAME.fullmatch(name):
        reader.problem("name", f"expected letters, digits, '_' and '-', first a letter, got {quote(name)}")
    return name


def _read_allowed(reader: TableReader, directory: Path) -> tuple[Path, ...]:
    return tuple((directory / Path(place).expanduser()).absolute() for place in reader.texts("allow_paths"))


def _read_params(reader: TableReader, boundary: Boundary) -> dict[str, Param]:
    inner = TableReader(reader.table("params"), "params", reader.problems)
    params = read_params(inner, boundary.directory)
    for name, param in params.items():
        if param.type == "path" and isinstance(param.default, str) and param.default:
            _check_inside(reader, boundary, f"params.{name}.default", param.default)
    return params


def _check_inside(reader: TableReader, boundary: Boundary, place: str, path: str) -> bool:
    try:
        boundary.inside(path, "the path")
    except (PathNotAllowed, ValueError) as error:
        reader.problem(place, str(error))
        return False
    return True


def _read_handlers(
    reader: TableReader, boundary: Boundary, extra: str | Sequence[str] | HandlerTable | None
) -> HandlerTable | None:
    """Return all handlers that the flow can name, None when a module failed (which has been reported)."""
    table = registered_handlers()
    own = reader.text("handlers")
    failed = own.endswith(".py") and not _check_inside(reader, boundary, "handlers", own)
    modules = [] if failed else [(own, boundary.directory, "handlers")]
    if isinstance(extra, HandlerTable):
        table = table.merged(extra)
    elif extra:
        more = [extra] if isinstance(extra, str) else extra
        modules += [(module, Path.cwd(), "") for module in more]  # the message names the module
    for module, base, place in modules:
        if module.strip():
            try:
                table = table.merged(load_handlers(module, base))
            except HandlerModuleError as error:
                failed = True
                reader.problems.add(place, str(error))
    return None if failed else table
