"""Showing a run to people and machines: live on a terminal, plain lines, the log, or one JSON object per line."""
