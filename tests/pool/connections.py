"""What pools lend in tests: connections, and a server that counts them."""

import asyncio
from typing import Any

from lifecycle import Pool


class Connection:
    """Something to lend: knows its state and who has it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.open = True
        self.users = 0
        self.dirty = False
        self.checks = 0
        self.resets = 0

    def __repr__(self) -> str:
        return f"<connection {self.number}>"


class Server:
    """Makes and ends connections, each of which takes a while, and keeps the account."""

    def __init__(self, seconds: float = 0.1) -> None:
        self.seconds = seconds
        self.connections: list[Connection] = []
        self.most_open = 0
        self.down = False

    async def connect(self) -> Connection:
        await asyncio.sleep(self.seconds)
        if self.down:
            raise ConnectionRefusedError("the server is down")
        connection = Connection(len(self.connections))
        self.connections.append(connection)
        self.most_open = max(self.most_open, self.open)
        return connection

    async def disconnect(self, connection: Connection) -> None:
        assert connection.open, f"{connection} was ended twice"
        assert not connection.users, f"{connection} was ended under its user"
        await asyncio.sleep(self.seconds)
        connection.open = False

    async def reset(self, connection: Connection) -> None:
        await asyncio.sleep(0.01)
        connection.resets += 1
        connection.dirty = False

    async def check(self, connection: Connection) -> bool:
        await asyncio.sleep(0.01)
        connection.checks += 1
        return not self.down

    @property
    def open(self) -> int:
        return sum(connection.open for connection in self.connections)

    def pool(self, **options: Any) -> Pool[Connection]:
        return Pool(self.connect, self.disconnect, **({"max_size": 2, "name": "db"} | options))


async def use(pool: Pool[Connection], seconds: float = 1.0, timeout: float | None = None) -> Connection:
    async with pool.acquire(timeout=timeout) as connection:
        connection.users += 1
        assert connection.users == 1, "lent twice"
        try:
            await asyncio.sleep(seconds)
        finally:
            connection.users -= 1
    return connection
