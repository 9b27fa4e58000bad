"""Mailbox and Broadcast: what tasks hand to each other, bounded, in order, and never lost by a cancellation."""
