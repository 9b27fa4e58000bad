"""The process around everything else: its signals, its background tasks, its threads, and how it ends."""
