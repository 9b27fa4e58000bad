"""How a job's work is done: handlers, contexts, threads, processes and requests."""
