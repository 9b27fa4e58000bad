"""``shell``: a command, with its arguments as a list or as one line for ``/bin/sh``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .._ground.text import quote
from .._language.expressions import SECRET, Reference, Template, as_text, references
from .._language.paths import Boundary
from .._work.process import Command, run_command
from .block import Block

if TYPE_CHECKING:
    from .._work.frame import Frame
    from .reader import BlockReader

_UNSAFE = (
    "an expression in a shell line is not filled in; give the value to the command by env, as in "
    'env = {{ X = "{}" }} and "$X", write the command as a list, or set interpolate = true to have it quoted'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Block):
    """Runs a command in a process group of its own; the output has its stdout, stderr and returncode.

    Attributes:
        command: a list of arguments, compiled, or one line for the shell.
        env: variables added to the environment, compiled.
        cwd: the directory to run in, compiled; relative to the flow's.
        boundary: where that directory may be.
        grace: seconds between SIGTERM and SIGKILL when it is stopped.
        ok: the exit codes that count as success.
    """

    kind: ClassVar[str] = "shell"
    command: Any
    env: dict[str, Any]
    cwd: Any
    boundary: Boundary
    grace: float
    ok: tuple[int, ...]

    async def run(self, frame: Frame) -> object:
        """Run the command to its end; ended as a group when the block is stopped."""
        command = _quoted(self.command, frame) if isinstance(self.command, Template) else self.command
        if isinstance(command, list):
            command = [as_text(argument) for argument in frame.resolve(command)]
        env = {name: as_text(value) for name, value in frame.resolve(self.env).items()}
        cwd = self.boundary.inside(as_text(frame.resolve(self.cwd)), "cwd")
        return await run_command(frame, Command(command, env, cwd, self.grace, self.ok, self.path))

    def references(self) -> Iterator[Reference]:
        """Yield the references in the command, the environment and the directory."""
        yield from references(self.command)
        yield from references(self.env)
        yield from references(self.cwd)


def read_shell(reader: BlockReader) -> Shell:
    """Read ``shell``, ``interpolate``, ``env``, ``cwd``, ``grace`` and ``ok``."""
    interpolate = reader.flag("interpolate")
    command = reader.raw("shell")
    command = _read_line(reader, command, interpolate) if isinstance(command, str) else _read_list(reader)
    _refuse_secrets(reader, command)
    return Shell(
        **reader.common(),
        command=command,
        env=_read_env(reader),
        cwd=reader.path_to("cwd"),
        boundary=reader.flow.boundary,
        grace=reader.seconds("grace", 5.0) or 0.0,
        ok=_read_codes(reader),
    )


_NO_SECRET = 'a secret would be seen in the list of processes; the command finds it in its environment, as in "$%s"'


def _refuse_secrets(reader: BlockReader, command: Any) -> None:
    for reference in references(command):
        if reference.root == SECRET:
            reader.problem("shell", _NO_SECRET % reference.steps[0])


def _quoted(line: Template, frame: Frame) -> str:
    """Return a shell line with its expressions filled in, each as one quoted word."""
    texts = []
    for part in line.parts:
        value = part if isinstance(part, str) else shlex.quote(as_text(frame.resolve(Template((part,)))))
        texts.append(value)
    return "".join(texts)


def _read_line(reader: BlockReader, line: str, interpolate: bool) -> Any:
    if not line.strip():
        reader.problem("shell", "expected a command that is not empty")
    if interpolate:
        return reader.value("shell")
    # ${HOME} and the like belong to the shell: only what could be one of ours is refused.
    if "${env:" in line:
        reader.problem("shell", 'a secret is not filled into a shell line; write "$NAME", as the environment has it')
    for root in ("params", "blocks", "steps", "item", "index", "run"):
        if f"${{{root}." in line or f"${{{root}}}" in line or f"${{{root}[" in line:
            reader.problem("shell", _UNSAFE.format(f"${{{root}...}}"))
            break
    return line


def _read_list(reader: BlockReader) -> Any:
    command = reader.value("shell")
    if not isinstance(command, list) or not command:
        reader.problem("shell", f"expected a command as a line or a list that is not empty, got {quote(command)}")
        return []
    for index, argument in enumerate(command):
        if isinstance(argument, (list, dict)) or argument is None:
            reader.problem(f"shell[{index}]", f"expected a string or a number, got {quote(argument)}")
    if command[0] == "":
        reader.problem("shell[0]", "expected a program's name that is not empty")
    return command


def _read_env(reader: BlockReader) -> dict[str, Any]:
    env = reader.value("env", {})
    if not isinstance(env, dict):
        reader.problem("env", f"expected a table, got {quote(env)}")
        return {}
    for name, value in env.items():
        if not name or "=" in name:
            reader.problem("env", f"expected a variable's name, got {quote(name)}")
        if isinstance(value, (list, dict)) or value is None:
            reader.problem(f"env.{name}", f"expected a string or a number, got {quote(value)}")
    return env


def _read_codes(reader: BlockReader) -> tuple[int, ...]:
    codes = reader.raw("ok", [0])
    if not isinstance(codes, list) or not codes or not all(type(code) is int and 0 <= code <= 255 for code in codes):
        reader.problem("ok", f"expected a list of exit codes from 0 to 255, got {quote(codes)}")
        return (0,)
    return tuple(codes)
