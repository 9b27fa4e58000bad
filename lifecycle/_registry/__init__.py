"""Registry: keyed live values with time to live, finalized exactly once and never while leased."""
