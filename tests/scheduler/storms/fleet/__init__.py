"""Worker processes on several machines that share one database, and what happens to them."""
