"""A program with a scheduler under load, to be killed: `python -m tests.scheduler.storms.program ARGUMENT`."""
