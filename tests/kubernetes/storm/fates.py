"""The ends that a storm orders, and what each of them is told as."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Any

from lifecycle.scheduler import JobStatus

from .nodes import FATE, LOST
from .servers import NAMESPACE, TIGHT


@dataclass(frozen=True)
class Fate:
    """An end that is ordered.

    Attributes:
        name: of it.
        weight: how often it is ordered, in parts of a hundred.
        block: the block, but for its cluster.
        status: of the job, in the end.
        said: what its error says.
        unseen: what it says where the pod was gone before anybody could see it, or no controller was there to say why
            there is none; empty where it stays until it is seen.
        cancels: whether somebody cancels it, within seconds of its submission.
    """

    name: str
    weight: int
    block: dict[str, Any] = field(default_factory=dict)
    status: JobStatus = JobStatus.FAILED
    said: str = ""
    unseen: tuple[str, ...] = ()
    cancels: bool = False

    @property
    def lines(self) -> int:
        """How many lines its log has at least."""
        found = re.search(r"lines-(\d+)", self.block["kubernetes"])
        return int(found[1]) if found else 0


def _struck(name: str, said: str, weight: int, **more: Any) -> Fate:
    """Return an end that somebody else brings, for which the pod has a label."""
    labels = {"labels": {FATE: name}, "grace": 1}
    unseen = ("BackoffLimitExceeded", "was deleted by somebody else") if name == "drained" else ()
    return Fate(name, weight, {"kubernetes": "script/sleep-600", **labels, **more}, said=said, unseen=unseen)


def _image(name: str, image: str, weight: int, said: str = "", unseen: tuple[str, ...] = (), **more: Any) -> Fate:
    status = JobStatus.FAILED if said else JobStatus.SUCCEEDED
    return Fate(name, weight, {"kubernetes": image, **more}, status, said, unseen)


_LONG = {"kubernetes": "script/sleep-600", "grace": 1}

FATES = [
    _image("succeeds", "script/say-42", 30),
    _image("writes", "script/lines-20", 8),
    _image("takes its time", "script/sleep-0.5+lines-3", 9),
    _image("exit code", "script/exit-3", 8, "main ended with exit code 3"),
    _image("SIGTERM", "script/signal-15", 3, "main was ended by SIGTERM"),
    _image("SIGKILL", "script/signal-9", 3, "main was ended by SIGKILL (maybe because it was out of memory)"),
    _image("out of memory", "script/oom", 5, "main was killed because it was out of memory"),
    _struck("evicted", "Evicted", 4),
    _struck("drained", "EvictionByEvictionAPI", 3),
    _struck("deleted", "deleted by somebody else", 4),
    _struck(LOST, "DeletionByTaintManager", 3),
    _image("no image", "never-pulled/image:1", 4, "ImagePull", pull_timeout=1.0),
    _image("no room", "script/ok", 3, "exceeded quota", ("no pod yet",), namespace=TIGHT, start_timeout=4.0),
    Fate("deadline", 4, {**_LONG, "deadline": 1}, said="longer than its deadline"),
    Fate("cancelled", 5, _LONG, JobStatus.CANCELLED, cancels=True),
    Fate("out of time", 4, {**_LONG, "timeout": 3.0}, JobStatus.TIMED_OUT),
]
assert sum(fate.weight for fate in FATES) == 100


def fates_of(count: int, chance: random.Random) -> list[Fate]:
    """Return so many ends in a random order, of each as many as its weight says, and one at least."""
    hundred = [fate for fate in FATES for _ in range(fate.weight)]
    chance.shuffle(hundred)
    chosen = [*FATES, *(hundred * (count // 100 + 1))][:count]
    chance.shuffle(chosen)
    return chosen


def block_of(fate: Fate, cluster: str) -> dict[str, Any]:
    """Return the block for a cluster."""
    return {"namespace": NAMESPACE, **fate.block, "cluster": cluster}
