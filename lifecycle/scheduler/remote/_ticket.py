"""The ticket of a piece of work: by its name the same work is found again, whoever looks for it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .._work.beyond import Beyond

LONGEST_NAME: Final = 52
"""Characters of a name: hosts append some of their own, and most bound a name at 63."""

_DIGEST: Final = 10


@dataclass(frozen=True, slots=True)
class Ticket:
    """Says of a piece of work elsewhere which attempt of which job it is for.

    The name is the same for all attempts of a job up to the next one whose end is recorded: one that was cut off is
    continued under it by the next, which finds what the first has begun. It is another one when the work is another.

    Attributes:
        name: at most 52 lower-case letters, digits and dashes, a letter first.
        store: which store the job is in, ten hexadecimal digits.
        run: the number of its run, None for a job by itself.
        job: the job's number.
        first: the number of the attempt that began it, or would have.
        attempt: the number of the attempt that it is for now.
        title: the job's name and the block's path, for people.
    """

    name: str
    store: str
    run: int | None
    job: int
    first: int
    attempt: int
    title: str


def ticket_for(beyond: Beyond, path: str, work: Any) -> Ticket:
    """Return the ticket for a piece of work of an attempt.

    Args:
        beyond: of the attempt.
        path: the block's, or another name of the place.
        work: plain data that says what is to be done. The same at the same place is another piece each time that it is
            asked for: the third in an attempt is the third in the next, so what an attempt had finished before it was
            cut off is found finished.
    """
    content = json.dumps(work, sort_keys=True, separators=(",", ":"), default=str)
    # The number alone does not do: it is given again when an older copy of the store is put back.
    which = f"{beyond.store}\n{beyond.created!r}\n{path}\n{content}"
    same = hashlib.sha256(which.encode("utf-8", "surrogatepass")).hexdigest()
    digest = hashlib.sha256(f"{same}\n{beyond.count(same)}".encode()).hexdigest()[:_DIGEST]
    numbers = f"{beyond.run or 0}-{beyond.job}-{beyond.first}-{digest}"
    if len(numbers) > LONGEST_NAME - 2:  # of a store whose numbers are beyond counting
        numbers = hashlib.sha256(numbers.encode()).hexdigest()[: 2 * _DIGEST]
    word = _label(beyond.job_name)[: max(1, LONGEST_NAME - len(numbers) - 1)].rstrip("-")
    title = beyond.job_name if path in ("", beyond.job_name) else f"{beyond.job_name}: {path}"
    return Ticket(f"{word}-{numbers}", beyond.store, beyond.run, beyond.job, beyond.first, beyond.attempt, title)


def _label(text: str) -> str:
    """Return what of a text can stand at the beginning of a name."""
    word = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return word if word[:1].isalpha() else f"j-{word}".rstrip("-")
