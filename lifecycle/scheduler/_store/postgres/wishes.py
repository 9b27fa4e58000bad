"""What a scheduler wants of the database, until it has the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Kind = Literal["plain", "ending", "other"]

Released = Collection[tuple[int, int]]
"""Jobs, each with the attempt that we do not make any more; another one of the same job may be ours."""


def _nothing(answer: Any) -> Released:
    return ()


@dataclass(eq=False, slots=True)
class Wish:
    """One thing that is wanted.

    Attributes:
        kind: a plain job to be stored, the end of an attempt, or anything else.
        said: what is wanted, as JSON text.
        give, fail: called in the thread of the database with the answer, or the error.
        alone: whether it is known that it has to be done while nobody else changes anything.
        patient: whether it waits for as long as the store does, instead of being refused.
        run: the run whose job it ends.
        job: the job whose attempt it ends.
        released: of the answer, the jobs, with their attempts, that we do not run any more.
        last: whether nothing is wanted after it.
    """

    kind: Kind
    said: str
    give: Callable[[Any], object]
    fail: Callable[[BaseException], object]
    alone: bool = False
    patient: bool = False
    run: int | None = None
    job: int | None = None
    released: Callable[[Any], Released] = _nothing
    last: bool = False


LONGEST_TURN: Final = 4_000_000
"""Characters that are sent in one turn, about."""

MOST: Final = 512
"""Wishes in one turn."""


@dataclass(eq=False, slots=True)
class Batch:
    """Wishes that are granted in one transaction, in their order within each kind.

    Attributes:
        wishes: what is wanted.
        number: which turn of its owner it is; the same when it has to be sent again.
        alone: whether it takes the gate alone.
        sent_by: the number under which it was sent last, so that it may have been done; None before that.
    """

    wishes: list[Wish]
    number: int
    alone: bool = field(init=False)
    sent_by: int | None = None

    def __post_init__(self) -> None:
        self.alone = any(wish.alone for wish in self.wishes)

    def arguments(self) -> tuple[list[int], str | None, str | None, str | None]:
        """Return what the function ``turn`` is called with: runs, plain jobs, endings, everything else."""
        runs = sorted({wish.run for wish in self.wishes if wish.run is not None})
        return runs, self._texts("plain"), self._texts("ending"), self._texts("other")

    def _texts(self, kind: Kind) -> str | None:
        texts = [wish.said for wish in self.wishes if wish.kind == kind]
        return f"[{','.join(texts)}]" if texts else None

    def deliver(self, answer: dict[str, Any]) -> list[tuple[int, int]]:
        """Give each wish its answer; return the attempts that we do not make any more."""
        of: dict[Kind, Sequence[Any]] = {
            "plain": answer["stored"],
            "ending": answer["ended"],
            "other": answer["answers"],
        }
        answers = {kind: iter(found) for kind, found in of.items()}
        released: list[tuple[int, int]] = []
        for one in self.wishes:
            its_answer = next(answers[one.kind])
            released += one.released(its_answer)
            one.give(its_answer)
        return released


def answer_of(text: str) -> dict[str, Any]:
    """Return what a turn was answered."""
    answer: dict[str, Any] = json.loads(text)
    return answer
