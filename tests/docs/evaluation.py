"""Running the examples of a document: its Python blocks in one loop and one namespace, its commands in one directory.

``python`` blocks may await at top level. One with a ``title`` is written to a file instead, for a later command.
An ``output`` block after a block is what that prints; ``...`` stands for anything. In a ``console`` block each line
after ``$`` is a command, run by bash in the document's directory; the lines up to the next ``$`` are its output.
"""

import ast
import asyncio
import contextlib
import doctest
import gc
import inspect
import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

from .markdown import ROOT, Block

#: Commands that set a machine up, or that run these very tests: their first word tells them.
SETTING_UP = ("apt", "git", "make", "pip", "python3 -m venv", "uv", ".ci/run", ".venv/bin/")

_SECONDS = 60

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


class Document:
    """The state that the blocks of one document share."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.runner = asyncio.Runner()
        for name in ("docs", "benchmarks"):
            (directory / name).symlink_to(ROOT / name)

    def run_python(self, block: Block, *, under: Run | None = None) -> str:
        """Run a block, or write it to the file that it names; return what it printed.

        Args:
            block: the block.
            under: what to run it with instead of the document's own loop.
        """
        if block.title:
            compile(block.text, str(block), "exec")
            (self.directory / block.title).write_text(block.text, encoding="utf-8")
            return ""
        # The leading lines make a traceback point into the document.
        source = "\n" * (block.line - 1) + block.text
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(source, str(block.path), "exec", flags=flags, dont_inherit=True)
        function = FunctionType(code, self.namespace)

        async def awaited() -> None:
            if inspect.isawaitable(done := function()):
                await done

        with contextlib.redirect_stdout(io.StringIO()) as printed:
            if under is not None:
                under(awaited)
            elif code.co_flags & inspect.CO_COROUTINE:
                self.runner.run(awaited())
            else:
                function()  # it may want to run a loop of its own
        return printed.getvalue()

    def run_console(self, block: Block) -> None:
        """Run each command of a block, and compare what it prints with what the document shows."""
        for command, expected in commands_of(block):
            if command.startswith(SETTING_UP):
                check_setting_up(command)
                continue
            printed = self.run_command(command)
            if expected.strip():
                compare(block, expected, printed)

    def run_command(self, command: str) -> str:
        """Run one command and return what it wrote, errors included."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        # A command that makes a temporary directory makes it among what pytest removes.
        env = {**os.environ, "PATH": path, "COLUMNS": "100", "TMPDIR": str(self.directory)}
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            text=True,
        )
        assert done.returncode == 0, f"{command} exited with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def close(self) -> None:
        """Close the loop; nothing may be left in it. What the examples made goes, so that no other document sees it."""
        try:
            left = asyncio.all_tasks(self.runner.get_loop())
            assert not left, f"the document's examples left tasks behind: {left}"
        finally:
            self.runner.close()
            self.namespace.clear()


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[Document]:
    """Have a document's blocks run in *directory*; what they set for the whole process is set back."""
    gc.collect()  # a snapshot shows what an earlier test of this process has left as garbage
    before, disabled, handlers = Path.cwd(), logging.root.manager.disable, handlers_of_loggers()
    os.chdir(directory)
    document = Document(directory)
    try:
        yield document
    except BaseException:
        document.runner.close()
        raise
    else:
        document.close()
    finally:
        os.chdir(before)
        logging.disable(disabled)
        for logger in handlers_of_loggers():
            logger.handlers[:] = handlers.get(logger, [])


def handlers_of_loggers() -> dict[logging.Logger, list[logging.Handler]]:
    """Return the handlers of each logger of this process."""
    known = [logging.root, *logging.root.manager.loggerDict.values()]
    return {logger: logger.handlers[:] for logger in known if isinstance(logger, logging.Logger)}


def evaluate(blocks: list[Block], document: Document, validate_toml: Callable[[Block], None]) -> None:
    """Run the blocks of a document in order and compare what they print with what it shows."""
    printed, shown_by = "", None
    for block in blocks:
        if block.language == "python":
            printed, shown_by = document.run_python(block), block
        elif block.language == "console":
            document.run_console(block)
        elif block.language == "toml":
            validate_toml(block)
            if block.title:
                (document.directory / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "output":
            assert shown_by is not None, f"{block}: there is no example that could print this"
            compare(block, block.text, printed)
            shown_by = None


def compare(block: Block, expected: str, printed: str) -> None:
    """Check that *printed* is what the document shows; ``...`` stands for anything, line ends are trimmed."""
    checker = doctest.OutputChecker()
    wanted, got = trimmed(expected), trimmed(printed)
    assert checker.check_output(wanted, got, doctest.ELLIPSIS), f"{block}: shows\n{wanted}\nbut prints\n{got}"


def trimmed(text: str) -> str:
    """Return *text* without trailing spaces, and with one line end at its end."""
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n"


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    """Return each command of a console block with the output that follows it."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        while command.endswith("\\"):
            more, _, output = output.partition("\n")
            command += "\n" + more
        yield command, output


def check_setting_up(command: str) -> None:
    """Check what can be checked of a command that is not run: that its make target exists."""
    if command.startswith("make"):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in re.findall(r"^make ([a-z]+)", command):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"{command}: no such target"
