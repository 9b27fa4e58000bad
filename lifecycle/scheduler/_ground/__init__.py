"""What every room of the scheduler stands on: its errors, limits, values and texts."""
