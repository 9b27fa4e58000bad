"""What a program of held context managers is, and a model of what must reach its host."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from .held_sorts import BLOCKS, ENDING, FAILING, SORTS, SUSPENDING, TELLING, WAITS, WAYS


@dataclass(frozen=True)
class Held:
    """One context manager: its sort, the way it is held, and the number of its error."""

    sort: str
    way: str
    number: int = 0

    @property
    def inline(self) -> bool:
        return self.way == "inline"


@dataclass(frozen=True)
class Nested:
    """What the rest of the program is in: a child of the scope at hand, or a block inside its body."""

    kind: str


@dataclass(frozen=True)
class Program:
    """What is held, how the innermost body ends, and what happens when.

    Attributes:
        layers: what is held, and the blocks between, outermost first.
        end: what the body does: it waits, and lets a cancellation pass, or swallows it, or fails then; or it returns,
            or raises an error, before anything can happen.
        wait: what it waits for.
        event: what happens, once; "twice": the second time while the next slow exit runs; "both": a scope is cancelled,
            and then, while the next slow exit runs, the host from outside.
        moment: when: while the body waits, or while the first slow exit runs.
        outermost: whether it happens to the outermost scope that has a block, or to the innermost.
    """

    layers: tuple[Held | Nested, ...]
    end: str
    wait: str
    event: str
    moment: str
    outermost: bool


#: Cancellations of the host from outside: native ones, and those by what stands around the program.
CANCELLING = ["native", "twice", "move_on_after", "fail_after", "timeout"]
#: What ends a scope from inside.
ENDS_A_SCOPE = ["cancel", "task fails", "held fails", "child fails"]
FAILS = ENDS_A_SCOPE[1:]
#: What happens the first time, and the second, where these differ.
BOTH = ["cancel", "native"]

helds = st.builds(Held, st.sampled_from(sorted(SORTS)), st.sampled_from(sorted(WAYS) + ["enter", "inline"] * 2))
nesteds = st.builds(Nested, st.sampled_from(["child", "scope", "stages", "child", "scope", "stages", *BLOCKS]))
programs = st.builds(
    Program,
    st.lists(st.one_of(helds, helds, helds, nesteds), max_size=6).map(tuple),
    st.sampled_from(["wait", "wait", "wait", "swallow", "fail then", "return", "raise"]),
    st.sampled_from(sorted(WAITS)),
    st.sampled_from(["nothing", *CANCELLING, *CANCELLING, *ENDS_A_SCOPE, "both", "both"]),
    st.sampled_from(["body", "body", "exit"]),
    st.booleans(),
)


#: These hold scopes of the task that enters them, and so must be left there; and a group that is left with an error
#: swallows a native cancellation that it meets while it waits. So they are inline in a block by itself only.
BOUND_TO_TASK = {"anyio client", "asyncio group", "self-cancelling", "joining group", "manager", "registry"}
BOUND_TO_TASK |= {"connection", "scope"}
#: And these interrupt the task that they are in while it leaves them, or lose their error to what interrupts it.
NEVER_INLINE = FAILING - {"failing"}
#: Where these raise errors, they go by the count of requests, and repeat one that has been swallowed.
COUNTING = {"group", "joining group"} | ({"asyncio group"} if sys.version_info >= (3, 13) else set())

Items = list[Any]  # of a scope, oldest first: a Held, or the items of a child


@dataclass(frozen=True)
class Block:
    """A block of a program: a scope or the stages of a connection with what it holds, or another owner by itself."""

    kind: str
    number: int
    items: Items = field(default_factory=list)

    @property
    def is_scope(self) -> bool:
        return self.kind == "scope"


def blocks_of(program: Program) -> list[Block]:
    """Return the blocks of *program*, outermost first: a scope."""
    blocks = [Block("scope", -1)]
    items: Items | None = blocks[0].items
    by_itself = not any(isinstance(layer, Nested) for layer in program.layers)
    for number, layer in enumerate(program.layers):
        if isinstance(layer, Held):
            if items is None:  # in the block of another owner, which holds none
                blocks.append(Block("scope", number))
                items = blocks[-1].items
            items.append(Held(layer.sort, possible_way(program, layer, blocks[-1], by_itself), number))
        elif layer.kind == "child" and items is not None and blocks[-1].is_scope:
            items.append([])
            items = items[-1]
        elif layer.kind in ("child", "scope", "stages"):
            blocks.append(Block("stages" if layer.kind == "stages" else "scope", number))
            items = blocks[-1].items
        else:
            blocks.append(Block(layer.kind, number))
            items = None
    return blocks


def possible_way(program: Program, held: Held, block: Block, by_itself: bool) -> str:
    """Return the way that *held* is held: as the program says, unless that cannot be, or nobody could tell its end."""
    way = held.way
    if not block.is_scope and way in ("inline", "callback"):
        return "enter"
    if held.sort in BOUND_TO_TASK | NEVER_INLINE and way in [*ENDING, "callback"]:
        return "enter"
    if way != "inline":
        return way
    if held.sort in NEVER_INLINE or (held.sort in BOUND_TO_TASK and not by_itself):
        return "enter"
    if held.sort == "cancelled" and (not by_itself or may_be_swallowed(program)):
        return "enter"  # whose it was cannot be said where the host's has been swallowed, or is due
    return way


# The model


@dataclass
class Flight:
    """What is in flight while a program is being left: its errors, and the requests to cancel the host.

    Attributes:
        program: the program.
        blocks: its blocks.
        depth: the block that is being left.
        errors: the errors in flight.
        requests: who wants the host to be cancelled, and has not been suppressed: "outside", or the depth of a block.
        asked: who has ever wanted that, and not taken it back.
        happened: how often the event has come.
    """

    program: Program
    blocks: list[Block]
    depth: int
    errors: Counter[object] = field(default_factory=Counter)
    requests: set[object] = field(default_factory=set)
    asked: set[object] = field(default_factory=set)
    happened: int = 0

    @property
    def target(self) -> int:
        """The depth of the scope that the event happens to, where it happens to one."""
        return target_of(self.program, self.blocks)

    @property
    def level(self) -> bool:
        """Whether the request comes back at the next wait, whoever swallows it, as anyio's does."""
        return self.happened > 0 and self.program.event in ("move_on_after", "fail_after")

    def happen(self, *, while_leaving: bool, shielded: bool = False) -> None:
        """Have the event happen, if its turn has come; perhaps while the host waits under a shield."""
        if self.program.event == "nothing" or self.happened == times(self.program):
            return
        self.happened += 1
        if event_of(self.program, self.happened) in CANCELLING:
            if not (shielded and self.level):  # which anyio delivers when the shield has ended
                self._ask("outside")
        elif self.depth > self.target or not while_leaving:  # a scope that is being closed cannot be ended
            self._ask(self.target)

    def _ask(self, who: object) -> None:
        self.requests.add(who)
        self.asked.add(who)

    def leave_block(self) -> None:
        """Leave the block at this depth, and so on, to the outermost."""
        while self.depth >= 0:
            block = self.blocks[self.depth]
            if self.depth in self.asked:
                self._take_back()
            self.close(block.items)
            if block.kind in COUNTING and self.errors:
                self.requests |= self.asked
            if block.kind in FAILING:
                self.errors[block.number] += 1
            if self.level and self.errors:
                self.requests.discard("outside")  # anyio repeats it; until then the next block does not know
            self.depth -= 1

    def _take_back(self) -> None:
        """Have a scope take its interruption back; whoever else has asked for the cancellation in flight stays."""
        met = self.depth in self.requests and not self.errors
        self.asked.discard(self.depth)
        self.requests.discard(self.depth)
        if met:
            self.requests |= self.asked
        if self.program.event in FAILS:
            self.errors["task"] += 1

    def close(self, items: Items) -> None:
        """Leave *items*, newest first."""
        for item in reversed(items):
            if isinstance(item, Held):
                self.leave(item)
            else:
                self.close_child(item)

    def close_child(self, items: Items) -> None:
        """Leave the *items* of a child, which closes by itself, and knows nothing of what is in flight."""
        outer = self.errors, self.requests
        self.errors, self.requests = Counter(), set()
        for item in reversed(items):
            if isinstance(item, Held):
                self.leave(item, in_child=True)
            else:
                self.close_child(item)
        self.errors += outer[0]
        self.requests |= outer[1]

    def leave(self, held: Held, *, in_child: bool = False) -> None:
        """Say what the exit of *held* makes of it."""
        inline = held.inline and not in_child
        seen = held.inline or held.way in TELLING
        if held.sort in FAILING:
            self.errors[held.number] += 1
        match held.sort:
            case "suppressing" if seen and self.errors:
                self.errors.clear()
            case "suppressing" if inline:
                self.requests.clear()
            case "cancelled" if inline and self.asked:
                self.requests |= self.asked  # what an asked host raises inline is its cancellation
            case "cancelled" if not seen or self.errors or not self.requests or in_child:
                self.errors["cancelled"] += 1
            case "anyio client" if inline and not self.errors and not self.level:  # which it leaves to the scope
                self.requests |= self.asked
            case "asyncio group" | "joining group" if inline and held.sort in COUNTING and self.errors:
                self.requests |= self.asked
            case "slow" if self.happened or self.program.moment == "exit":
                self.happen(while_leaving=True, shielded=not inline)
        if held.sort in SUSPENDING and inline and self.level:
            self._ask("outside")


def expected(program: Program) -> Flight:
    """Return what must reach the host of *program*."""
    blocks = blocks_of(program)
    flight = Flight(program, blocks, len(blocks) - 1)
    if program.end not in ("return", "raise") and program.moment == "body":
        flight.happen(while_leaving=False)
    if program.end == "raise" or (program.end == "fail then" and flight.requests):
        flight.errors["body"] += 1
    if program.end in ("swallow", "fail then"):
        flight.requests.clear()
    flight.leave_block()
    if flight.level:
        flight.requests.add("outside")
    return flight


def times(program: Program) -> int:
    """Return how often the event of *program* happens, if there are moments for it."""
    return 2 if program.event in ("twice", "both") else 1


def event_of(program: Program, time: int) -> str:
    """Return what happens at that *time*, the first being 1."""
    return BOTH[time - 1] if program.event == "both" else program.event


def target_of(program: Program, blocks: list[Block]) -> int:
    """Return the depth of the scope that the event of *program* happens to, where it happens to one."""
    return 0 if program.outermost else max(depth for depth, block in enumerate(blocks) if block.is_scope)


def may_be_swallowed(program: Program) -> bool:
    """Whether something may have swallowed the request, so that what comes later says something else."""
    return is_inline(program, "suppressing") or program.end in ("swallow", "fail then")


def may_lose_its_message(program: Program) -> bool:
    """Whether the request may come without its message: a group of asyncio's repeats it so since 3.13."""
    groups = is_inline(program, "asyncio group") or Nested("asyncio group") in program.layers
    return may_be_swallowed(program) or groups


def is_inline(program: Program, sort: str) -> bool:
    return any(isinstance(layer, Held) and layer.inline and layer.sort == sort for layer in program.layers)
