"""TaskManager: background tasks that it drains when it closes."""
