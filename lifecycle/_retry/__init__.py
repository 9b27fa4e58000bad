"""Retry: what is tried again, how often and after which pauses; for a connect, and for any call."""
