"""The ledger: who opened what, on whose behalf, where; closed exactly once, and never before what it owns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TypeVar

from ..._ground import trace
from ..._ground.checks import checked_count
from ..._ground.foreign import in_words
from ..._ground.frames import Frames
from .._checks import checked_kind
from .._errors import LeakError
from .._sites import format_site, raw_frames
from .tracking import question_for, report_closing

T = TypeVar("T")


class Token:
    """One live thing in a ledger. Release it once; as a context manager it releases itself at the end.

    Attributes:
        kind: what sort of thing it is.
        name: its name.
        owner: the token, or the plain name, of its owner.
        number: how many things its ledger had seen before.
        releases: how often it has been released; more than once is a violation.
    """

    __slots__ = ("_children", "_ended", "_ledger", "kind", "name", "number", "owner", "releases", "site")

    def __init__(
        self, ledger: Ledger, kind: str, name: str, owner: Token | str | None, number: int, site: Frames
    ) -> None:
        self._ledger = ledger
        self._children = 0
        self._ended: Callable[[], bool] | None = None
        self.kind: str = kind
        self.name: str = name
        self.owner: Token | str | None = owner
        self.number: int = number
        self.site: Frames = site
        self.releases: int = 0

    @property
    def path(self) -> str:
        """Names of the owners, outermost first, and of the thing itself."""
        if self.owner is None:
            return self.name
        above = self.owner.path if isinstance(self.owner, Token) else self.owner
        return f"{above} / {self.name}"

    def release(self) -> None:
        """Say that the thing has ended."""
        self._ledger.closed(self)

    def describe(self) -> str:
        """One line: kind, owner path and where it was made."""
        return f"{self.kind} {self.path!r} made at {format_site(self.site)}"

    def __enter__(self) -> Token:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        state = "live" if not self.releases else f"released {self.releases}x"
        return f"<Token {self.kind} {self.path!r} {state}>"


class Ledger:
    """An account of live things: opened = live + released, at every moment.

    It has no loop and no thread of its own, and holds raw frames, never frame objects. Our primitives report
    to it while :meth:`recording` is active; your own code calls :meth:`acquire`. Not for production traffic:
    it keeps one record per live thing, at two microseconds each.
    """

    def __init__(self, *, depth: int = 3) -> None:
        self.depth: int = checked_count(depth, "depth")
        self._live: dict[int, Token] = {}
        self._opened = 0
        self.released: list[str] = []
        self.violations: list[str] = []

    def acquire(self, name: str, *, owner: Token | str | None = None, kind: str = "resource") -> Token:
        """Enter a thing that lives from now on; release the token when it has ended.

        Args:
            name: what it is called in a report.
            owner: the token or the name of what owns it.
            kind: what sort of thing it is, a free word.

        Raises:
            TypeError: an argument is of the wrong type.
        """
        checked_kind(name, str, "name", "a string")
        checked_kind(kind, str, "kind", "a string")
        check_owner(owner)
        return self._enter(kind, name, owner)

    def track(self, thing: T, name: str | None = None, *, owner: Token | str | None = None) -> T:
        """Enter a file, socket, process, transport, stream writer, or anything with ``aclose`` or ``close``.

        A thing of a known kind is asked whether it has ended; of any other, the closing method reports the end.

        Args:
            thing: what lives.
            name: what it is called in a report; its repr by default.
            owner: the token or the name of what owns it.

        Returns:
            The thing, to be used from now on; a stand-in for it where its class has slots.

        Raises:
            TypeError: it can be neither asked nor closed, or an argument is of the wrong type.
        """
        if name is not None:
            checked_kind(name, str, "name", "a string or None")
        check_owner(owner)
        ended = question_for(thing)
        token = self._enter(type(thing).__name__, name or repr(thing), owner)
        if ended is not None:
            token._ended = ended
            return thing
        try:
            return report_closing(thing, token.release)  # type: ignore[no-any-return]
        except TypeError:
            self.closed(token)
            raise

    def opened(self, kind: str, name: str, owner: trace.Mark | str | None) -> Token:
        """Enter what a primitive reports; the sink's side of :mod:`lifecycle._ground.trace`."""
        known = owner if isinstance(owner, Token) or owner is None else str(getattr(owner, "path", owner))
        return self._enter(kind, name, known)

    def _enter(self, kind: str, name: str, owner: Token | str | None) -> Token:
        self._opened = number = self._opened + 1
        token = Token(self, kind, name, owner, number, raw_frames(self.depth, 2))
        self._live[number] = token
        if isinstance(owner, Token):
            owner._children += 1
        return token

    def closed(self, token: trace.Mark) -> None:
        """Strike a thing out; a second time, or before what it owns, is a violation."""
        if not isinstance(token, Token) or token._ledger is not self:
            return
        token.releases += 1
        if token.releases > 1:
            self.violations.append(f"released {token.releases} times: {token.describe()}")
            return
        del self._live[token.number]
        self.released.append(token.name)
        if token._children:
            self.violations.append(f"released before {token._children} thing(s) it owns: {token.describe()}")
        if isinstance(token.owner, Token):
            token.owner._children -= 1

    @property
    def live(self) -> list[Token]:
        """What lives now, oldest first."""
        for token in [token for token in self._live.values() if token._ended is not None and token._ended()]:
            self.closed(token)
        return list(self._live.values())

    def residue(self) -> list[str]:
        """Everything that speaks against this ledger: what still lives, and every violation."""
        return [token.describe() for token in self.live] + self.violations

    def assert_clean(self) -> None:
        """Check that nothing lives and nothing was released wrongly.

        Raises:
            LeakError: with every live thing and violation, each with owner path and creation site.
        """
        residue = self.residue()
        if residue:
            lines = "\n  ".join(residue)
            raise LeakError(f"the ledger is not clean, {len(residue)} thing(s) left:\n  {lines}")

    @contextlib.contextmanager
    def recording(self) -> Iterator[Ledger]:
        """Let all primitives of this package report to this ledger inside the block."""
        before = trace.sink
        trace.sink = self
        try:
            yield self
        finally:
            trace.sink = before


def check_owner(owner: object) -> None:
    """Check that *owner* is one.

    Raises:
        TypeError: it is not.
    """
    if owner is not None and not isinstance(owner, (Token, str)):
        raise TypeError(f"owner must be a token, a name or None, got {in_words(owner)}")
