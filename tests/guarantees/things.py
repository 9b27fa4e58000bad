"""What the tests own: things that take time to make and to release, and that write down what happens to them."""

import asyncio
from collections import Counter


class Diary:
    """What happened, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def write(self, event: str) -> None:
        """Add an event."""
        self.events.append(event)

    async def use(self, name: str, *, ending: float = 1.0) -> None:
        """Run until cancelled, and then take a while to end."""
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(ending)
            self.write(f"{name} ended")

    async def release(self, name: str) -> None:
        """Release something, which takes a second, in two steps."""
        self.write(f"release of {name} began")
        await asyncio.sleep(0.5)
        await asyncio.sleep(0.5)
        self.write(f"{name} released")


class Stubborn:
    """A task that ignores every cancellation until it is allowed to end."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.cancellations = 0

    async def run(self) -> None:
        """Wait, whatever happens."""
        while not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                self.cancellations += 1

    async def let_go(self) -> None:
        """Let it end, and wait until it has."""
        self.may_end.set()
        await asyncio.sleep(0.1)


class Account:
    """How often each value has been made and released."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.released: Counter[str] = Counter()

    async def make(self, name: str, *, delay: float = 0.01) -> str:
        """Return a value after a while."""
        await asyncio.sleep(delay)
        self.made[name] += 1
        return name

    async def release(self, name: str) -> None:
        """Release a value, which takes a while."""
        await asyncio.sleep(0.01)
        self.released[name] += 1

    @property
    def balanced(self) -> bool:
        """Whether each value that was made has been released exactly as often."""
        return self.made == self.released
