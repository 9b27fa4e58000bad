"""``from lifecycle import *`` as strict type checkers see it; beside `typed_face`, and checked with it."""

from typing import assert_type

from lifecycle import *  # noqa: F403
from lifecycle.hooks import *  # noqa: F403
from lifecycle.types import *  # noqa: F403

assert_type(Scope(), Scope)  # noqa: F405
assert_type(QueueAlarm(1.0, print), QueueAlarm)  # noqa: F405
assert_type(OwnerState("open"), OwnerState)  # noqa: F405
