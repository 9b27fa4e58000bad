"""Limits: how many at once, how many for each key, and how many in a time; alone, and what owners of tasks use."""
