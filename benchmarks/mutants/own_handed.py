"""The table of mutants, continued: what tasks hand to each other, in mailboxes and broadcasts."""

from __future__ import annotations

from .own_table import OwnMutant

MAILBOX, CLOSED, DROPS = ("mailbox_between",), ("mailbox_closed", "mailbox_between"), ("mailbox_that_drops",)
WAITED, CUT = ("broadcast_that_waits",), ("broadcast_that_disconnects",)

HANDED = [
    # Who is told.
    OwnMutant(
        "a cancelled sender keeps the room that it was told of",
        "Box._send_at_length",
        "self._leave(senders, place)",
        "pass",
        MAILBOX,
    ),
    OwnMutant(
        "a cancelled receiver keeps the item that it was told of",
        "Box._receive_at_length",
        "self._leave(receivers, place)",
        "pass",
        CLOSED,
    ),
    OwnMutant("what was reserved goes to nobody", "Store._leave", "self._offer_items()", "pass", CLOSED),
    OwnMutant("room is offered to nobody", "Box._take", "self._offer_room()", "pass", MAILBOX),
    OwnMutant("an item is told to nobody", "Store._note_items", "self._offer_items()", "pass", MAILBOX),
    OwnMutant("a place is kept for who has gone", "Store._leave", "self._coming.remove(place)", "pass", MAILBOX),
    OwnMutant("one that was told stays told", "Line.leave", "self.told -= 1", "pass", CLOSED),
    OwnMutant("the item is put in before there is room", "Box._send_at_length", "await place", "pass", MAILBOX),
    OwnMutant("the shortcut overtakes", "Store._settle", "self._easy = 0", "self._easy = FOREVER", MAILBOX),
    # The end.
    OwnMutant("receivers do not hear of the end", "Store._tell_over", "self._receivers.tell_many()", "pass", MAILBOX),
    OwnMutant("senders do not hear of the end", "Store.close", "self._senders.tell_many()", "pass", CLOSED),
    OwnMutant(
        "who waits for the end does not hear of it", "Store._tell_over", "self._waiters.tell_many()", "pass", CLOSED
    ),
    OwnMutant(
        "who joins does not hear that all is done",
        "Store._look_whether_done",
        "self._joiners.tell_many()",
        "pass",
        MAILBOX,
    ),
    OwnMutant("what is dropped is not handed back", "Box._overflow_with", "self._hand_back(oldest)", "pass", DROPS),
    # Broadcasts.
    OwnMutant(
        "a cancelled publisher keeps its turn",
        "Broadcast._wait_for_turn",
        "publishers.leave(place)",
        "pass",
        WAITED,
    ),
    OwnMutant("room is told to no publisher", "Broadcast._note_room", "self._tell_publisher()", "pass", WAITED),
    OwnMutant(
        "one that has left is waited for",
        "Broadcast._forget",
        "self._crowded.pop(inbox, None)",
        "pass",
        WAITED,
    ),
    OwnMutant("the next publisher is not told", "Broadcast._give", "self._tell_publisher()", "pass", WAITED),
    OwnMutant("a crowded inbox is filled on", "Broadcast._give", "self._crowded[inbox] = None", "pass", WAITED),
    OwnMutant("a slow subscriber is not disconnected", "Broadcast._give", "inbox.disconnects", "False", CUT),
    OwnMutant("a broadcast ends without its inboxes", "Broadcast._close_inbox", "inbox.close(self._why)", "pass", CUT),
]
