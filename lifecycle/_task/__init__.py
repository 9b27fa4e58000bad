"""One task: the record of it, its start, its slot, and who waits for it."""
