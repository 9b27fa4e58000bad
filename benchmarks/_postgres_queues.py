"""All queues on PostgreSQL that are measured: the peers, and ours beside them."""

from __future__ import annotations

from benchmarks._postgres_peers import PEERS, Peer

QUEUES: dict[str, Peer] = {**PEERS}
