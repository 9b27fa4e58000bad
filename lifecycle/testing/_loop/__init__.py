"""The virtual loop: its turns, its clock, and the order in which tasks run."""
