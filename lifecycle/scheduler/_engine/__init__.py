"""The engine: which job runs when, and what becomes of it."""
