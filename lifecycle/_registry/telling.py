"""Telling: one error of a factory, told to several callers, none of whom finds another's frames or errors in it."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType

from .._ground.foreign import context_of, set_context, traceback_of, twin_of, with_traceback


class Told:
    """An error that is told again and again, each time as its factory left it.

    A caller that raises it puts its own frames into the traceback and, where it was handling an error, that one into
    the context. So the first caller gets the error itself, and every further one a copy; one that cannot be copied is
    put back to what it was.

    Args:
        error: as the factory left it.
    """

    __slots__ = ("_context", "_fresh", "_traceback", "error")

    def __init__(self, error: BaseException) -> None:
        self._fresh = True
        self._traceback: TracebackType | None = traceback_of(error)
        self._context: BaseException | None = context_of(error)
        self.error = error

    def kept(self, *, without_frames: bool) -> Told:
        """Return the same to tell later, to callers of whom none gets the error itself.

        Args:
            without_frames: whether no frame must be kept alive, because the callers' stand above those of the factory;
                a note says then where it was raised.
        """
        error = twin_of(self.error)
        if error is not None and without_frames and self._traceback is not None:
            with suppress(Exception):
                error.add_note(f"raised {_place_of(self._traceback)}")
        told = Told(self.error if error is None else error)
        told._fresh = False
        if without_frames:
            told._traceback = told._context = None
        return told

    def for_another(self) -> BaseException:
        """Return the error for one more caller."""
        error = self.error if self._fresh else twin_of(self.error) or self.error
        self._fresh = False
        set_context(error, self._context)
        return with_traceback(error, self._traceback)


def _place_of(traceback: TracebackType) -> str:
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    return f"at {code.co_filename}:{traceback.tb_lineno} in {code.co_qualname}"
