"""Flow files: read into blocks and schedules."""
