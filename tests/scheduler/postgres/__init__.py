"""The scheduler on PostgreSQL."""
