"""``foreach``: one block for each item of a list, a limited number at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .._ground.errors import ExpressionError
from .._ground.limits import FOREACH_ITEMS
from .._ground.text import quote
from .._language.expressions import Reference, Template, quote_compiled, references
from .._language.table import NAME
from .._work.crew import WIDTH, run_crew, width_problem
from .block import Block

if TYPE_CHECKING:
    from .._work.frame import Frame
    from .reader import BlockReader

_RESERVED = ("params", "blocks", "steps", "run", "index")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreach(Block):
    """Runs its block once for each item; the output is the list of outputs, in the order of the items.

    Inside, ``${item}`` (or what ``as`` says) is the item and ``${index}`` its number from 0.

    Attributes:
        items: a list, or an expression that is one.
        each: the block.
        item_name: what the item is called inside.
        width: how many run at once, a number or an expression.
        stop: whether the first failure stops the others; else they finish and then the block fails.
    """

    kind: ClassVar[str] = "foreach"
    items: Any
    each: Block | None
    item_name: str
    width: Any
    stop: bool

    async def run(self, frame: Frame) -> object:
        """Run the block for every item, at most ``width`` at once."""
        assert self.each is not None  # a flow with problems never runs
        each = self.each
        items = frame.resolve(self.items)
        if not isinstance(items, list):
            raise ExpressionError(f"foreach: expected a list, got {quote(items)}")
        if len(items) > FOREACH_ITEMS:
            raise ExpressionError(f"foreach: {len(items):,} items, at most {FOREACH_ITEMS:,} are allowed")

        async def run_item(own: Frame, index: int, item: object) -> object:
            inner = own.with_names({self.item_name: item, "index": index})
            return await inner.run(each, index=index)

        width = frame.setting(self.width, width_problem, "width")
        return await run_crew(frame, run_item, items, width=width, stop=self.stop, path=self.path)

    def references(self) -> Iterator[Reference]:
        """Yield the references in ``foreach`` and ``width``."""
        yield from references(self.items)
        yield from references(self.width)

    def children(self) -> Iterator[Block]:
        """Yield the block."""
        return iter(() if self.each is None else (self.each,))


def read_foreach(reader: BlockReader) -> Foreach:
    """Read ``foreach`` (the items), ``each`` (the block), ``as``, ``width`` and ``on_failure``."""
    items = reader.value("foreach")
    if not isinstance(items, list) and not (isinstance(items, Template) and items.whole):
        reader.problem("foreach", f"expected a list, or one expression that is a list, got {quote_compiled(items)}")
    item_name = reader.text("as", "item")
    if not NAME.fullmatch(item_name) or item_name in _RESERVED:
        reader.problem("as", f"expected a name that is not {', '.join(_RESERVED)}, got {quote(item_name)}")
        item_name = "item"
    return Foreach(
        **reader.common(),
        items=items,
        each=reader.block("each", reader.available.with_items(item_name, "index")),
        item_name=item_name,
        width=reader.setting("width", width_problem, WIDTH),
        stop=reader.choice("on_failure", ("stop", "finish")) == "stop",
    )
