"""The double answers what the real API server answers, request by request."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .comparing import Ask, Asker
from .double import OLD, api_double
from .faithful import SCENARIOS as REQUESTS
from .faithful_jobs import SCENARIOS as LIVES

SCENARIOS = {**REQUESTS, **LIVES}

pytestmark = [pytest.mark.kubernetes, pytest.mark.asyncio]


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_both_answer_alike(scenario: str, real_server: Any, tmp_path: Path) -> None:
    """Identifiers, times and the words of parsers aside."""
    namespace = f"t{os.urandom(5).hex()}"
    asks = [Ask("POST", "/api/v1/namespaces", {"metadata": {"name": "NS"}}), *SCENARIOS[scenario]]
    truth = await Asker(real_server.kubeconfig, namespace).ask(asks)
    async with api_double(manner=OLD, strict=False) as double:
        told = await Asker(double.kubeconfig(tmp_path / "config"), namespace).ask(asks)
    for ask, wanted, got in zip(asks, truth, told, strict=True):
        asked = f"{ask.method} {ask.path} {json.dumps(ask.body)[:200]}"
        assert json.dumps(got, indent=1) == json.dumps(wanted, indent=1), asked
