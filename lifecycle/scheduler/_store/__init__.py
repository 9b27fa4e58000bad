"""Stores: jobs, attempts and schedules, in memory or in SQLite, behind one protocol."""
