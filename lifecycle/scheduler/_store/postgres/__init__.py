"""The store in a PostgreSQL database, for schedulers on many machines."""
