"""Owners for everything that lives in an asyncio service."""

__version__ = "0.1.0.dev0"
