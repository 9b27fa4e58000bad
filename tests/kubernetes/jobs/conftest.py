"""The double plays today's release here: the jobs are to run on that as well as on the real server's."""

from __future__ import annotations

import pytest

from ..double import TODAY, Manner


@pytest.fixture
def manner() -> Manner:
    """Today's release."""
    return TODAY
