"""A machine for anything that keeps live values by key."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from .._look.ledger import Token
from ._base import LoopMachine, pick, picks

keys = st.sampled_from("abc")


class ChangingKey:
    """A key whose hash and equality change when it is told to, and may raise from then on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.changes = 0
        self.raises = False

    def _identity(self) -> tuple[str, int]:
        if self.raises:
            raise LookupError(f"key {self.name} has no identity any more")
        return self.name, self.changes

    def __hash__(self) -> int:
        return hash(self._identity())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChangingKey) and self._identity() == other._identity()

    def __repr__(self) -> str:
        return f"<key {self.name} after {self.changes} changes>"


class RegistryMachine(LoopMachine):
    """Puts, gets, leases, removes and expires values, cancels users, and checks that each is finalized once.

    Override :meth:`make`. A registry that is not shaped like ours also overrides :meth:`put`, :meth:`get`,
    :meth:`remove`, :meth:`lease` and :meth:`close`. Values are ledger tokens; the finalizer releases them.

    Attributes:
        keys_change: whether keys are objects whose hash and equality may change, or raise, while values are under
            them; False by default, as few registries bear that.
    """

    keys_change = False

    def __init__(self) -> None:
        super().__init__()
        self._made = 0
        self._keys: dict[str, ChangingKey] = {}
        self._leased: list[Token] = []
        self.registry: Any = None
        self.finish(self._open())

    async def _open(self) -> None:
        self.registry = self.make(self.finalize)

    # To override.

    def make(self, finalizer: Any) -> Any:
        """Make the registry; it calls ``await finalizer(value)`` for each value that has left it."""
        raise NotImplementedError

    def put(self, key: str, value: Any) -> None:
        self.registry.put(key, value)

    def get(self, key: str) -> Any:
        return self.registry.get(key)

    def remove(self, key: str) -> None:
        self.registry.discard(key)

    def lease(self, key: str, factory: Any) -> AbstractAsyncContextManager[Any]:
        lease: AbstractAsyncContextManager[Any] = self.registry.lease(key, factory)
        return lease

    async def close(self) -> None:
        await self.registry.aclose()

    # Values.

    async def new_value(self) -> Token:
        """The factory: takes time, and enters what it made into the ledger."""
        await asyncio.sleep(0.1)
        return self._new_token()

    def _new_token(self) -> Token:
        self._made += 1
        return self.bubble.ledger.acquire(f"value {self._made}", kind="value")

    async def finalize(self, value: Token) -> None:
        """The finalizer: takes time, and strikes the value out."""
        assert value not in self._leased, f"{value} is finalized under its user"
        await asyncio.sleep(0.1)
        value.release()

    def key_of(self, name: str) -> Any:
        """Return the key that goes by *name* now: the name itself unless keys change."""
        return self._keys.setdefault(name, ChangingKey(name)) if self.keys_change else name

    # Rules.

    @precondition(lambda self: self.keys_change)
    @rule(name=keys, raises=st.booleans())
    def change_a_key(self, name: str, raises: bool) -> None:
        """Have the key of a name become another one, or raise; who uses the name from now on has a new one."""
        former = self._keys.pop(name, None)
        if former is not None:
            former.changes += 1
            former.raises = raises

    @rule(key=keys)
    def put_value(self, key: str) -> None:
        self.inside(self.put, self.key_of(key), self._new_token())

    @rule(key=keys)
    def get_value(self, key: str) -> None:
        value = self.inside(self.get, self.key_of(key))
        assert value is None or not value.releases, f"{value} was handed out after it was finalized"

    @rule(key=keys)
    def remove_value(self, key: str) -> None:
        self.inside(self.remove, self.key_of(key))

    @rule(key=keys, tenths=st.integers(0, 5))
    def use_value(self, key: str, tenths: int) -> None:
        self.start(self._use(key, tenths / 10), f"user of {key}")

    async def _use(self, key: str, seconds: float) -> None:
        async with self.lease(self.key_of(key), self.new_value) as value:
            assert not value.releases, f"{value} was leased after it was finalized"
            self._leased.append(value)
            try:
                await asyncio.sleep(seconds)
            finally:
                self._leased.remove(value)
                assert not value.releases, f"{value} was finalized under its user"

    @precondition(lambda self: self.running())
    @rule(number=picks)
    def cancel_a_user(self, number: int) -> None:
        pick(self.running(), number).cancel()

    @invariant()
    def accounts_close(self) -> None:
        check = getattr(self.registry, "_check_invariants", None)
        if check is not None:
            check()

    async def shut_down(self) -> None:
        await self.close()
