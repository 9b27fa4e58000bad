"""What a mailbox and a broadcast hold, and what has become of what was put in, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MailboxStatistics:
    """What a `Mailbox` holds at one moment, and what has become of what was put in.

    ``sent`` is ``waiting + received + discarded`` and those of ``dropped`` that had been put in before.

    Attributes:
        name: the mailbox's name.
        state: ``"open"``, ``"closing"`` while items are left of one that is closed, or ``"closed"``.
        capacity: how many items may lie in it, None for no bound.
        waiting: how many do.
        waiting_senders: how many senders wait for room.
        waiting_receivers: how many receivers wait for an item.
        high_water: the largest number of items that lay in it.
        sent: how many items were put in.
        received: how many of them receivers have got.
        dropped: how many items the policy has dropped, whether they had been put in or not.
        refused: how many were refused, because it was full or closed.
        discarded: how many `Mailbox.discard` has taken out.
        unfinished: how many were put in and are neither reported done nor dropped nor discarded.
    """

    name: str
    state: str
    capacity: int | None
    waiting: int
    waiting_senders: int
    waiting_receivers: int
    high_water: int
    sent: int
    received: int
    dropped: int
    refused: int
    discarded: int
    unfinished: int


@dataclass(frozen=True, slots=True)
class BroadcastStatistics:
    """What a `Broadcast` holds at one moment, and what has become of what was published.

    Attributes:
        name: the broadcast's name.
        state: ``"open"`` or ``"closed"``.
        subscribers: how many there are.
        waiting_publishers: how many publishers wait for a slow subscriber.
        published: how many items were published.
        missed: how many items subscribers have not got, because they were too slow, those that are gone included.
        disconnected: how many subscribers were disconnected for that.
        most_behind: how many items the slowest subscriber has not received.
        replayed: how many items a new subscriber gets first.
    """

    name: str
    state: str
    subscribers: int
    waiting_publishers: int
    published: int
    missed: int
    disconnected: int
    most_behind: int
    replayed: int
