"""``call``: a registered Python callable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from .._ground.text import quote
from .._language.expressions import Reference, references
from .._work.handlers import Handler
from .block import Block

if TYPE_CHECKING:
    from .._work.frame import Frame
    from .reader import BlockReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Block):
    """Calls a handler; its return value is the output.

    Attributes:
        handler: what is called.
        args: positional arguments, compiled.
        kwargs: keyword arguments, compiled.
    """

    kind: ClassVar[str] = "call"
    handler: Handler
    args: list[Any]
    kwargs: dict[str, Any]

    @property
    @override
    def calls(self) -> str:
        return self.handler.name

    async def run(self, frame: Frame) -> object:
        """Call the handler with the resolved arguments."""
        return await frame.call(self.handler, frame.resolve(self.args), frame.resolve(self.kwargs))

    def references(self) -> Iterator[Reference]:
        """Yield the references in the arguments."""
        yield from references(self.args)
        yield from references(self.kwargs)


def read_call(reader: BlockReader) -> Call:
    """Read ``call`` and ``args`` (a table of keyword arguments, or a list of positional ones)."""
    name = reader.text("call")
    given = reader.value("args", {})
    args, kwargs = (given, {}) if isinstance(given, list) else ([], given)
    if not isinstance(kwargs, dict):
        reader.problem("args", f"expected a table or a list of arguments, got {quote(given)}")
        kwargs = {}
    handler = _find(reader, name)
    if handler is not None and (message := handler.problem(args, kwargs)):
        reader.problem("args", message)
    return Call(**reader.common(), handler=handler or _MISSING, args=args, kwargs=kwargs)


def _find(reader: BlockReader, name: str) -> Handler | None:
    handlers = reader.flow.handlers
    if handlers is None or not isinstance(reader.raw("call"), str):
        return None  # the missing module, or the wrong type, has been reported
    if name not in handlers:
        reader.problem("call", partial(handlers.unknown, name))
    return handlers.get(name)


def _never_called() -> None:
    """Takes the place of a missing handler; a flow with one has problems and never runs."""


_MISSING = Handler("?", _never_called, is_async=False, wants_context=False, parameters=None)
