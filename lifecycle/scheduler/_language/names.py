"""The names that an expression may use at one place of a flow, known before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from .._ground.text import did_you_mean, listing
from .expressions import SECRET, Reference
from .params import Param

RUN_FIELDS = ("attempt", "directory", "flow", "id")


@dataclass(frozen=True, slots=True)
class Names:
    """The names that can be used at one place.

    Attributes:
        params: the declared parameters.
        blocks: all top-level blocks.
        needed: returns whether a top-level block has ended before this place, by ``needs``.
        steps: named steps that came before in the surrounding sequences.
        items: ``item``, ``index`` and what ``as`` called them.
    """

    params: Mapping[str, Param]
    blocks: frozenset[str]
    needed: Callable[[str], bool]
    steps: frozenset[str] = field(default_factory=frozenset)
    items: frozenset[str] = field(default_factory=frozenset)

    def with_items(self, *names: str) -> Names:
        """Return the names inside a foreach."""
        return replace(self, items=self.items | set(names))

    def with_step(self, name: str) -> Names:
        """Return the names after a named step."""
        return replace(self, steps=self.steps | {name})

    def problem(self, reference: Reference) -> str | None:
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

    def _param_problem(self, reference: Reference) -> str | None:
        name = reference.steps[0] if reference.steps else None
        if isinstance(name, str) and name in self.params:
            return None
        if not isinstance(name, str):
            return f"{reference}: expected a parameter's name, as in ${{params.NAME}}"
        hint = did_you_mean(name, self.params)
        return f"{reference}: unknown parameter {name!r}{hint}; there are {listing(self.params)}"

    def _block_problem(self, reference: Reference) -> str | None:
        name = reference.steps[0] if reference.steps else None
        if not isinstance(name, str):
            return f"{reference}: expected a block's name, as in ${{blocks.NAME.output}}"
        if name not in self.blocks:
            return f"{reference}: unknown block {name!r}{did_you_mean(name, self.blocks)}"
        if reference.steps[1:2] != ("output",):
            return f"{reference}: expected 'output' after the block's name, as in ${{blocks.{name}.output}}"
        if not self.needed(name):
            return f'{reference}: block {name!r} is not in needs; add it, as in needs = ["{name}"]'
        return None

    def _step_problem(self, reference: Reference) -> str | None:
        name = reference.steps[0] if reference.steps else None
        if not isinstance(name, str) or name not in self.steps:
            known = f"steps before this one with a name: {listing(self.steps)}"
            return f"{reference}: unknown step; {known}{did_you_mean(str(name), self.steps)}"
        if reference.steps[1:2] != ("output",):
            return f"{reference}: expected 'output' after the step's name, as in ${{steps.{name}.output}}"
        return None

    def _run_problem(self, reference: Reference) -> str | None:
        name = reference.steps[0] if reference.steps else None
        if name in RUN_FIELDS:
            return None
        return f"{reference}: expected one of {listing(RUN_FIELDS)} after 'run'"
