"""The names that an expression may use at one place of a flow, known before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from .._ground.text import did_you_mean, listing
from .expressions import SECRET, Reference
from .params import Param
from .problems import Message

RUN_FIELDS = ("attempt", "directory", "flow", "id")
BLOCK_FIELDS = ("output", "status", "error")


@dataclass(frozen=True, slots=True)
class Names:
    """The names that can be used at one place.

    A flow has many places, so what they have in common is shared and not copied.

    Attributes:
        params: the declared parameters.
        blocks: all top-level blocks.
        needed: returns whether a top-level block has ended before this place, by ``needs``.
        steps: for each surrounding sequence its named steps so far: the sequence adds each when it has been read.
        items: ``item``, ``index`` and what ``as`` called them.
        last: whether this is in a block of ``[finally]``.
    """

    params: Mapping[str, Param]
    blocks: Collection[str]
    needed: Callable[[str], bool]
    steps: tuple[set[str], ...] = ()
    items: frozenset[str] = field(default_factory=frozenset)
    last: bool = False

    def with_items(self, *names: str) -> Names:
        """Return the names inside a foreach."""
        return replace(self, items=self.items | set(names))

    def with_steps(self, steps: set[str]) -> Names:
        """Return the names inside a sequence, whose named steps are added to *steps* one by one."""
        return replace(self, steps=(*self.steps, steps))

    def problem(self, reference: Reference) -> Message | None:
        """Return what is wrong with *reference* here, or None."""
        root = reference.root
        if root == SECRET:
            return None
        if root == "params":
            return self._param_problem(reference)
        if root == "blocks":
            return self._block_problem(reference)
        if root == "steps":
            return self._step_problem(reference)
        if root == "run":
            return self._run_problem(reference)
        if root in self.items:
            return None
        if root in ("item", "index"):
            return f"{reference}: {root!r} is known only inside the block of a foreach"
        known = {"params", "blocks", "steps", "run", *self.items}
        return f"{reference}: unknown name {root!r}{did_you_mean(root, known)}; expected one of {listing(known)}"

    def _param_problem(self, reference: Reference) -> Message | None:
        name = reference.steps[0] if reference.steps else None
        if not isinstance(name, str):
            return f"{reference}: expected a parameter's name, as in ${{params.NAME}}"
        if name in self.params:
            return None
        return lambda: f"{reference}: unknown parameter {name!r}{did_you_mean(name, self.params)}{self._known_params()}"

    def _known_params(self) -> str:
        return f"; there are {listing(self.params)}"

    def _block_problem(self, reference: Reference) -> Message | None:
        name = reference.steps[0] if reference.steps else None
        if not isinstance(name, str):
            return f"{reference}: expected a block's name, as in ${{blocks.NAME.output}}"
        if name not in self.blocks:
            return lambda: f"{reference}: unknown block {name!r}{did_you_mean(name, self.blocks)}"
        if not reference.steps[1:2] or reference.steps[1] not in BLOCK_FIELDS:
            fields = "'output', 'status' or 'error'"
            return f"{reference}: expected {fields} after the block's name, as in ${{blocks.{name}.output}}"
        if not self.needed(name):
            return f'{reference}: block {name!r} is not in needs; add it, as in needs = ["{name}"]'
        return None

    def _step_problem(self, reference: Reference) -> Message | None:
        name = reference.steps[0] if reference.steps else None
        if not any(name in steps for steps in self.steps):
            return lambda: f"{reference}: unknown step; {self._known_steps(str(name))}"
        if reference.steps[1:2] != ("output",):
            return f"{reference}: expected 'output' after the step's name, as in ${{steps.{name}.output}}"
        return None

    def _known_steps(self, name: str) -> str:
        known = set[str]().union(*self.steps)
        return f"steps before this one with a name: {listing(known)}{did_you_mean(name, known)}"

    def _run_problem(self, reference: Reference) -> Message | None:
        name = reference.steps[0] if reference.steps else None
        if name in RUN_FIELDS or (name == "status" and self.last):
            return None
        if name == "status":
            return f"{reference}: the status of the run is known only in the blocks of [finally]"
        return f"{reference}: expected one of {listing(RUN_FIELDS)} after 'run'"
