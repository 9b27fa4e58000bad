"""What registries hold in tests, and a clock that is told when to go."""

import asyncio
from collections.abc import Awaitable


class Client:
    """Something that must be closed once, and not in use."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.users = 0
        self.closes = 0

    async def aclose(self) -> None:
        assert not self.users, f"{self.name} was closed under its user"
        self.closes += 1
        await asyncio.sleep(0.1)

    def __repr__(self) -> str:
        return f"<client {self.name}>"


def close(client: Client) -> Awaitable[None]:
    return client.aclose()


class Frozen:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now
