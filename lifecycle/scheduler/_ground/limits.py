"""The bounds that keep a flow file, a job and the store small. Each is far above what honest use needs."""

from __future__ import annotations

from typing import Final

FLOW_BYTES: Final = 16 * 1024 * 1024
"""A larger flow file is refused unread."""

STRING_CHARACTERS: Final = 65_536
"""A longer string in a flow is refused."""

VALUE_DEPTH: Final = 100
"""Lists and tables nested deeper than this are refused."""

BLOCK_DEPTH: Final = 32
"""Blocks nested deeper than this are refused, with the path in the error."""

CONDITION_DEPTH: Final = 16
"""Conditions nested deeper than this are refused."""

SUBFLOW_DEPTH: Final = 8
"""Flows that run flows that run flows, deeper than this, are refused, with the chain in the error."""

SUBFLOWS: Final = 1_000
"""A flow that names more subflows than this, and they further ones, is refused."""

BLOCKS: Final = 20_000
"""A flow with more blocks than this, nested ones and those of its subflows included, is refused."""

LAST_NEEDS: Final = 500_000
"""A flow with more blocks times those of ``[finally]`` than this is refused: each of the one needs all others."""

PROBLEMS: Final = 20
"""Problems of a flow that are listed; the others are counted."""

RESULT_BYTES: Final = 1024 * 1024
"""Bytes of the result of one job, as JSON; a larger one is refused."""

FOREACH_ITEMS: Final = 100_000
"""A foreach over more items than this fails instead of filling the memory."""

SHELL_BYTES: Final = 65_536
"""Bytes kept of a command's standard output, and of its standard error: half head, half tail."""

HTTP_BYTES: Final = 256 * 1024
"""Bytes read of an HTTP answer unless the flow says otherwise; a longer one fails the block."""

LONGEST_WAIT: Final = 30.0
"""Seconds after which a wait for a time of day looks at the wall clock again: it may have been set."""

LOG_LINES: Final = 50
"""The last log lines of a job that are kept."""

LOG_CHARACTERS: Final = 500
"""A longer log line is cut."""

MESSAGE_CHARACTERS: Final = 2_000
"""A longer error text is cut in the middle."""
