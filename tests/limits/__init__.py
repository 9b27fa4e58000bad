"""Limits: at once, for each key, in a time."""
