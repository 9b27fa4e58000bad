"""Context variables that go with a job: from whoever submits it to the handler, in any process."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from .terms import plain_metadata


class Carry:
    """The variables whose values travel in the metadata of each job.

    Args:
        variables: by the names that their values have there.
    """

    def __init__(self, variables: Mapping[str, ContextVar[Any]] | None) -> None:
        if variables is not None and not isinstance(variables, Mapping):
            raise TypeError(f"carry must be a mapping of names to context variables, got {variables!r}")
        for name, variable in (variables or {}).items():
            if not isinstance(name, str) or not isinstance(variable, ContextVar):
                raise TypeError(f"carry must map names to context variables, got {name!r}: {variable!r}")
        self._variables = dict(variables or {})

    def values(self) -> Mapping[str, Any]:
        """Return what the variables have here, without those that have no value, or None.

        Raises:
            TypeError, OutputTooLarge: a value is not plain data, or they are too large.
        """
        if not self._variables:
            return {}
        found = {name: variable.get(None) for name, variable in self._variables.items()}
        return plain_metadata({name: value for name, value in found.items() if value is not None}) or {}

    def set(self, metadata: Mapping[str, Any] | None) -> None:
        """Give the variables the values that came with a job, in the current context; those of none are None."""
        for name, variable in self._variables.items():
            value = None if metadata is None else metadata.get(name)
            if value is not None or variable.get(None) is not None:
                variable.set(value)
