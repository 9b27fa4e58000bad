"""Rooms for other people's frameworks, one each; nothing here is imported unless you import it."""
