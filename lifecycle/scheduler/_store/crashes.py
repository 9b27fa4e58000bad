"""Crashes: how often a job may be running when its process dies before it has failed."""

from __future__ import annotations

from typing import Final

MAX_CRASHES: Final = 3
"""Crashes after which a job has failed, by default."""
