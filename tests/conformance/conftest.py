"""What every program here runs with."""

from .loops import run

__all__ = ["run"]
