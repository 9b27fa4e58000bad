"""Where jobs are kept: in memory, or in an SQLite file that survives the process."""
