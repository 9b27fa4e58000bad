"""Exploration: a scenario run again and again, with a fault or an order of its own each time."""
