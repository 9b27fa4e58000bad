"""What the tests of scopes put into them."""

from __future__ import annotations

import asyncio


async def fail_after(seconds: float, error: BaseException) -> None:
    await asyncio.sleep(seconds)
    raise error


async def noted(log: list[str], name: str, seconds: float = 3600) -> None:
    try:
        await asyncio.sleep(seconds)
    finally:
        log.append(name)


class Transaction:
    """Commits or rolls back, as the error says."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def __aenter__(self) -> Transaction:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *details: object) -> None:
        await asyncio.sleep(0.1)
        self.log.append("commit" if kind is None else f"roll back for {kind.__name__}")


class NoteClosing:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def close(self) -> None:
        self.log.append("closed")


class Connection:
    """Something with a close of its own."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def aclose(self) -> None:
        self.log.append("aclose")
