"""Errors that a job may end with, as its outcome's ``exception``; the others are in ``lifecycle.scheduler``."""

from ._ground.errors import (
    BlockTimeout,
    ExpressionError,
    HandlerChanged,
    HandlerError,
    HttpFailed,
    OutputNotPlain,
    OutputTooLarge,
    PathNotAllowed,
    SecretHidden,
    ShellFailed,
    ThreadAbandoned,
)
from ._ground.names import show_at

__all__ = [
    "BlockTimeout",
    "ExpressionError",
    "HandlerChanged",
    "HandlerError",
    "HttpFailed",
    "OutputNotPlain",
    "OutputTooLarge",
    "PathNotAllowed",
    "SecretHidden",
    "ShellFailed",
    "ThreadAbandoned",
]

show_at(globals(), __all__)


def __dir__() -> list[str]:
    return __all__
