"""Reading one block: the typed keys of a table, values with expressions, and the blocks inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypedDict

from .._ground.errors import PathNotAllowed
from .._ground.limits import BLOCK_DEPTH, BLOCKS, SUBFLOWS
from .._ground.text import quote
from .._language.conditions import condition_problems
from .._language.expressions import SECRET, Template, compile_value, references
from .._language.names import Names
from .._language.paths import Boundary
from .._language.problems import Problems
from .._language.table import TableReader
from .._work.handlers import HandlerTable

if TYPE_CHECKING:
    from pathlib import Path

    from .block import Block
    from .flow import Flow

JOB_KEYS: Final = frozenset({"needs", "priority", "delay", "retries", "backoff", "queue", "when"})
"""Keys of a top-level block only: it is a job in the store, the blocks inside it are not."""


class Common(TypedDict):
    """The fields that every kind of block passes on to its constructor."""

    path: str
    name: str | None
    timeout: float | None


@dataclass(slots=True)
class Size:
    """How large a flow is, with all its subflows."""

    blocks: int = 0
    subflows: int = 0


@dataclass(slots=True)
class FlowReading:
    """What is the same for all blocks while one flow is read.

    Attributes:
        problems: where problems go.
        handlers: what ``call`` can name, None when a module could not be loaded.
        boundary: where paths may lead.
        read_block: reads one block.
        load_subflow: reads the flow that a block names.
        chain: the files that are being read, the outermost first, this flow's own last.
        prefix: what the paths of its blocks begin with: where a subflow stands.
        depth: how many blocks are around it.
        size: how many blocks there are so far.
        digests: those of its subflows.
        secrets: the places that use secrets, and the names of those.
    """

    problems: Problems
    handlers: HandlerTable | None
    boundary: Boundary
    read_block: Callable[[BlockReader], Block | None]
    load_subflow: Callable[[BlockReader, str], Flow | None]
    chain: tuple[Path, ...] = ()
    prefix: str = ""
    depth: int = 0
    size: Size = field(default_factory=Size)
    digests: list[str] = field(default_factory=list)
    secrets: list[tuple[str, str]] = field(default_factory=list)

    def go_inside(self, around: BlockReader) -> None:
        """Make this the reading of a subflow, which the block that *around* reads runs."""
        self.prefix = f"{around.flow.prefix}{around.path}/"
        self.depth = around.depth + 1
        self.size = around.flow.size
        self.chain = around.flow.chain

    def count_block(self, path: str) -> bool:
        """Count one block; return False, which has been reported, when there are too many."""
        self.size.blocks += 1
        if self.size.blocks == BLOCKS + 1:
            self.problems.add(path, f"more than {BLOCKS:,} blocks in one flow")
        return self.size.blocks <= BLOCKS

    def count_subflow(self, path: str) -> bool:
        """Count one subflow; return False, which has been reported, when there are too many."""
        self.size.subflows += 1
        if self.size.subflows == SUBFLOWS + 1:
            self.problems.add(path, f"more than {SUBFLOWS:,} subflows in one flow")
        return self.size.subflows <= SUBFLOWS


class BlockReader(TableReader):
    """Reads the table of one block.

    Args:
        table: the block's plain table.
        path: where it stands.
        flow: what is the same for all blocks.
        names: the names that its expressions may use.
        depth: how many blocks are around it.
        name: its name when it is a top-level block.
    """

    def __init__(
        self,
        table: dict[str, Any],
        path: str,
        flow: FlowReading,
        names: Names,
        *,
        depth: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(table, path, flow.problems)
        self.flow = flow
        self.available = names
        self.depth = depth
        self._name = name

    def common(self) -> Common:
        """Return what every kind has: path, name, timeout (and read the description away)."""
        self.text("description")
        name = self._name or (self.text("name") or None)
        return {"path": self.flow.prefix + self.path, "name": name, "timeout": self.seconds("timeout", positive=True)}

    def value(self, key: str, default: Any = None, *, names: Names | None = None) -> Any:
        """Return the value of *key* compiled, its expressions checked; they may use *names*."""
        try:
            compiled = compile_value(self.raw(key, default))
        except ValueError as error:
            self.problem(key, str(error))
            return default
        for reference in references(compiled):
            if message := (names or self.available).problem(reference):
                self.problem(key, message)
            if reference.root == SECRET:
                self.flow.secrets.append((self.flow.prefix + self.place(key), str(reference.steps[0])))
        return compiled

    def condition(self, key: str, names: Names | None = None) -> Any:
        """Return the condition in *key* compiled; its expressions may use *names*."""
        if key not in self:
            self.problem(key, "missing; expected a condition")
            return False
        condition = self.value(key, names=names)
        condition_problems(condition, key, self.problem)
        return condition

    def path_to(self, key: str) -> Any:
        """Return a path compiled, empty when there is none; a literal one must be inside of the flow's boundary."""
        path = self.value(key, "")
        if isinstance(path, str) and path:
            try:
                self.flow.boundary.inside(path, "the path")
            except (PathNotAllowed, ValueError) as error:
                self.problem(key, str(error))
        elif not isinstance(path, (str, Template)):
            self.problem(key, f"expected a path, got {quote(path)}")
            return ""
        return path

    def setting(self, key: str, problem: Callable[[Any], str | None], default: Any = None) -> Any:
        """Return a number, or the expression that will be one, checked by *problem* where it is a number already."""
        compiled = self.value(key, default)
        if isinstance(compiled, Template) and compiled.whole:
            return compiled
        if isinstance(compiled, Template):
            self.problem(key, "expected a number, or one expression that is a number")
        elif message := problem(compiled):
            self.problem(key, message)
        return compiled

    def block(self, key: str, names: Names | None = None) -> Block | None:
        """Return the block in the table *key*; None after a problem, which has been reported."""
        value = self.raw(key)
        if key not in self:
            self.problem(key, f'missing; expected a block, as in {key} = {{ call = "NAME" }}')
            return None
        return self._inner(value, self.place(key), names or self.available)

    def blocks(self, key: str, *, sequential: bool) -> tuple[Block, ...]:
        """Return the blocks in the list *key*; in a sequence the named ones are known to those after."""
        value = self.raw(key)
        if not isinstance(value, list) or not value:
            self.problem(key, f"expected a list of blocks that is not empty, got {quote(value)}")
            return ()
        blocks, taken = [], set[str]()
        names = self.available.with_steps(taken) if sequential else self.available
        for index, table in enumerate(value):
            path = f"{self.place(key)}[{index}]"
            block = self._inner(table, path, names)
            if block is None:
                continue
            blocks.append(block)
            if block.name is not None and block.name in taken:
                self.problems.add(f"{path}.name", f"the name {quote(block.name)} is used twice in this list")
            if block.name is not None:
                taken.add(block.name)
        return tuple(blocks)

    def _inner(self, table: object, path: str, names: Names) -> Block | None:
        if not isinstance(table, dict):
            self.problems.add(path, f"expected a block (a table), got {quote(table)}")
            return None
        if self.depth + 1 >= BLOCK_DEPTH:
            self.problems.add(path, f"blocks nested deeper than {BLOCK_DEPTH} levels")
            return None
        if not self.flow.count_block(path):
            return None
        reader = BlockReader(table, path, self.flow, names, depth=self.depth + 1)
        for key in JOB_KEYS & table.keys():
            reader.raw(key)
            reader.problem(key, "only a top-level block can have this key")
        block = self.flow.read_block(reader)
        if block is not None:
            reader.finish()
        return block
