"""TaskGroup and the functions around it: structured work that its block waits for."""
