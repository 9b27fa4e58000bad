"""Work that outlives the scheduler."""
