"""All commands that the control server answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import (
    _client_commands,
    _connection_commands,
    _event_commands,
    _job_commands,
    _limit_commands,
    _run_commands,
    _schedule_commands,
    _store_commands,
)
from ._commands import CommandTable

if TYPE_CHECKING:
    from ._session import Session

COMMANDS: Final[CommandTable[Session]] = CommandTable(
    {
        **_connection_commands.commands,
        **_client_commands.commands,
        **_job_commands.commands,
        **_run_commands.commands,
        **_event_commands.commands,
        **_schedule_commands.commands,
        **_store_commands.commands,
        **_limit_commands.commands,
    }
)
