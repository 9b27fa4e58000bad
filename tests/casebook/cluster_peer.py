"""The peer of case E, a process of its own: a driver that keeps subscriptions, and a cluster that keeps sessions.

It does what each request's script says: be slow, lose an answer, refuse, answer late, or close in the middle. It keeps
what it was asked to keep until it is asked to remove it; it never tidies up after a client that forgets.

Run it with ``python cluster_peer.py``: it prints its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any


class Peer:
    """What the peer keeps: subscriptions, those that are still to come, open connections and sessions."""

    def __init__(self) -> None:
        self.subscriptions: set[int] = set()
        self.pending: dict[int, asyncio.TimerHandle] = {}
        self.ingress = 0
        self.sessions: set[int] = set()
        self.drivers: dict[int, asyncio.StreamWriter] = {}  # by subscription: where its events go

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection: a client's long-lived one, or an ingress publication."""
        session = None
        try:
            while line := await reader.readline():
                request = json.loads(line)
                if request["op"] == "ingress":
                    self.ingress += 1
                    session = request["id"]
                elif getattr(self, request["op"])(writer, **request.get("args", {})) == "cut":
                    break
        except OSError:
            pass
        finally:
            if session is not None:
                self.ingress -= 1
                self.sessions.discard(session)
            writer.close()

    # A client's connection to the driver

    def add_subscription(self, writer: asyncio.StreamWriter, id: int, script: dict[str, Any]) -> None:  # noqa: A002
        """Keep a subscription, after the script's delay; announce it unless the script says otherwise."""
        if script.get("refuse"):
            send(writer, event="refused", id=id)
            return
        later = asyncio.get_running_loop().call_later
        self.pending[id] = later(script.get("delay", 0.0), self.subscribe, writer, id, script)

    def subscribe(self, writer: asyncio.StreamWriter, id: int, script: dict[str, Any]) -> None:  # noqa: A002
        """Keep it from now on."""
        del self.pending[id]
        self.subscriptions.add(id)
        self.drivers[id] = writer
        if not script.get("lose"):
            send(writer, event="subscribed", id=id)

    def remove(self, writer: asyncio.StreamWriter, id: int) -> None:  # noqa: A002
        """Forget a subscription, one that is still to come included."""
        if id in self.pending:
            self.pending.pop(id).cancel()
        self.subscriptions.discard(id)
        self.drivers.pop(id, None)
        send(writer, event="removed", id=id)

    def count(self, writer: asyncio.StreamWriter) -> None:
        """Say how much is kept."""
        kept = {"subscriptions": len(self.subscriptions), "pending": len(self.pending)}
        send(writer, event="count", id=0, kept={**kept, "ingress": self.ingress, "sessions": len(self.sessions)})

    # An ingress publication

    def connect(self, writer: asyncio.StreamWriter, id: int, script: dict[str, Any]) -> str | None:  # noqa: A002
        """Answer a connect request through the client's subscription."""
        if script.get("cut"):
            return "cut"
        if not script.get("lose"):
            event = "rejected" if script.get("refuse") else "accepted"
            asyncio.get_running_loop().call_later(script.get("delay", 0.0), self.answer, id, event)
        return None

    def answer(self, id: int, event: str) -> None:  # noqa: A002
        """Send an event through a subscription, if it is still there."""
        if id in self.drivers:
            send(self.drivers[id], event=event, id=id)

    def conclude(self, writer: asyncio.StreamWriter, id: int, script: dict[str, Any]) -> str | None:  # noqa: A002
        """Open the session."""
        if script.get("cut"):
            return "cut"
        self.sessions.add(id)
        if not script.get("lose"):
            send(writer, event="concluded", id=id)
        return None


def send(writer: asyncio.StreamWriter, **event: Any) -> None:
    """Send one event, to a client that may have gone."""
    with contextlib.suppress(OSError):
        writer.write(json.dumps(event).encode() + b"\n")


async def main() -> None:
    """Serve until standard input ends."""
    server = await asyncio.start_server(Peer().serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
