"""What the bytecode of a function tells without running it; written so that it holds from Python 3.11 to 3.15."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType
from typing import Any

#: How many answers about codes are kept.
MOST_CODES = 256


@lru_cache(maxsize=MOST_CODES)
def is_inside_try(code: CodeType, offset: int) -> bool:
    """Return whether the instruction of *code* at *offset* is in a ``try`` or ``with`` block, which sees its errors.

    The compiler's own handlers see them as well, but they only tidy up and raise on: one around every generator, one
    around every ``except``. What the user wrote begins by noting the error that it handles.
    """
    instructions = {instruction.offset: instruction for instruction in dis.Bytecode(code)}
    return any(instructions[handler].opname == "PUSH_EXC_INFO" for handler in _handlers(code, instructions, offset))


def _handlers(code: CodeType, instructions: dict[int, dis.Instruction], offset: int) -> Iterator[int]:
    """Yield where the handlers around *offset* begin, innermost first."""
    entries: list[Any] = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]
    seen: set[int] = set()
    while offset not in seen:
        seen.add(offset)
        handler = next((entry.target for entry in entries if entry.start <= offset < entry.end), None)
        if handler is None:
            return
        yield handler
        offset = next(at for at in instructions if at >= handler and instructions[at].opname == "RERAISE")


#: By the address of the code, which is part of its value: the hash of a code object is that of all that is in it.
_returns_nothing: dict[int, tuple[CodeType, bool]] = {}


def returns_nothing(code: CodeType) -> bool:
    """Return whether *code*, a plain function's, returns, and gives None wherever it does."""
    known = _returns_nothing.get(id(code))
    if known is None:
        if len(_returns_nothing) >= MOST_CODES:
            _returns_nothing.clear()
        known = _returns_nothing[id(code)] = code, _find_returns_nothing(code)
    return known[1]


def _find_returns_nothing(code: CodeType) -> bool:
    before = None
    returned: list[bool] = []
    for instruction in dis.Bytecode(code):
        if instruction.opname == "RETURN_CONST":
            returned.append(instruction.argval is None)
        elif instruction.opname == "RETURN_VALUE":
            returned.append(_loads_none(before))
        before = instruction
    return bool(returned) and all(returned)


def _loads_none(instruction: dis.Instruction | None) -> bool:
    return instruction is not None and instruction.opname.startswith("LOAD_CO") and instruction.argval is None
