"""Foreign errors: what users' code raised, joined, searched, cut and told without running a line of theirs.

An error may refuse attributes, as a frozen dataclass does, and its ``__eq__``, ``__hash__``, ``__repr__``, ``__str__``
or ``derive`` may raise. An owner that met that in the middle of its books would lose what stands below. So errors are
told apart by identity, their traceback and context are read and set as the interpreter does it, chains are followed
to the first circle and no further, and groups without recursion: they may be nested by the thousand.
"""

from __future__ import annotations

import copy
from asyncio import CancelledError
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast

E = TypeVar("E", bound=BaseException)

# The interpreter's own access to its fields, which no class can take away.
_traceback: Any = vars(BaseException)["__traceback__"]
_context: Any = vars(BaseException)["__context__"]
_cause: Any = vars(BaseException)["__cause__"]
_suppress: Any = vars(BaseException)["__suppress_context__"]
_args: Any = vars(BaseException)["args"]
_exceptions: Any = vars(BaseExceptionGroup)["exceptions"]


def in_words(thing: object) -> str:
    """Return what a person calls *thing*, also one whose own answer is an error."""
    try:
        return repr(thing)
    except KeyboardInterrupt:  # which a signal has raised here, and no answer
        raise
    except BaseException:
        return object.__repr__(thing)


def holds(errors: Iterable[BaseException], error: BaseException) -> bool:
    """Return whether that very object is among *errors*."""
    return any(other is error for other in errors)


def is_fatal(error: BaseException) -> bool:
    """Return whether *error* ends the process and must therefore travel bare, never inside a group."""
    return isinstance(error, (KeyboardInterrupt, SystemExit))


# Tracebacks


def traceback_of(error: BaseException) -> TracebackType | None:
    """Return the traceback of *error*."""
    return cast("TracebackType | None", _traceback.__get__(error))


def with_traceback(error: E, traceback: TracebackType | None) -> E:
    """Return *error* with that traceback in place of its own."""
    return BaseException.with_traceback(error, traceback)


def without_our_frame(error: E) -> E:
    """Return *error* without the frame that has caught it, which refers to what will keep the error: a cycle."""
    traceback = traceback_of(error)
    return error if traceback is None else with_traceback(error, traceback.tb_next)


# Contexts


def context_of(error: BaseException) -> BaseException | None:
    """Return what was being handled when *error* was raised."""
    return cast("BaseException | None", _context.__get__(error))


def set_context(error: BaseException, context: BaseException | None) -> None:
    """Have *error* say that *context* was being handled when it was raised."""
    _context.__set__(error, context)


def contexts(error: BaseException) -> Iterator[BaseException]:
    """Yield *error*, its context, the context of that, and so on, each once."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = context_of(link)


def forget_context(error: BaseException, unwanted: BaseException) -> None:
    """Cut the contexts of *error* off where *unwanted* begins."""
    for link in contexts(error):
        if context_of(link) is unwanted:
            set_context(link, None)
            return


def add_context(error: BaseException, context: BaseException) -> None:
    """Put *context* between *error* and the contexts that it has; what leads back to *error* is cut: no circles."""
    told = [*members(context), *contexts(context)]
    former = context_of(error)
    for other in told if former is None else (*told, former):
        forget_context(other, error)
    if former is not None and former is not error and not holds(told, former):
        *_, last = contexts(context)
        if not holds(contexts(former), last):
            set_context(last, former)
    set_context(error, context)


# Copies


def twin_of(error: E) -> E | None:
    """Return a copy of *error*, with the same cause, context and traceback; None where it cannot be copied truly.

    That is where its class says so, or makes something else of its arguments, or keeps some of it in slots.
    """
    if any(vars(cls).get("__slots__") for cls in type(error).__mro__):
        return None
    try:
        twin = copy.copy(error)
        args, own = _args.__get__(twin), _args.__get__(error)
        if type(twin) is not type(error) or twin is error or len(args) != len(own):
            return None
    except Exception:
        return None
    if any(one is not other for one, other in zip(args, own, strict=True)):
        return None
    _cause.__set__(twin, _cause.__get__(error))
    _suppress.__set__(twin, _suppress.__get__(error))
    set_context(twin, context_of(error))
    return with_traceback(twin, traceback_of(error))


# Groups


def members(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and, where it is a group, all that is in it, each once and from left to right."""
    seen: set[int] = set()
    unseen = [error]
    while unseen:
        found = unseen.pop()
        if id(found) not in seen:
            seen.add(id(found))
            yield found
            if isinstance(found, BaseExceptionGroup):
                unseen.extend(reversed(_exceptions.__get__(found)))


def distinct(errors: Sequence[BaseException]) -> list[BaseException]:
    """Return *errors*, each object once: not those, either, that are in a group among them."""
    grouped = {id(inner) for error in errors for inner in members(error) if inner is not error and not is_fatal(inner)}
    return list({id(error): error for error in errors if id(error) not in grouped}.values())


def combine(message: str, errors: Sequence[BaseException]) -> BaseException:
    """Return the one error that carries all of *errors* (at least one), losing none, and none twice.

    A single error is returned as it is, several as an ``ExceptionGroup``. ``KeyboardInterrupt`` and
    ``SystemExit`` come back bare, so that they still end the process, with the others as their context.
    """
    if len(errors) == 1:
        return errors[0]
    several = distinct(errors)
    if len(several) == 1:
        return several[0]
    for error in several:
        if is_fatal(error):
            add_context(error, combine(message, [other for other in several if other is not error]))
            return error
    return BaseExceptionGroup(message, several)


def carries(error: BaseException, given: BaseException) -> bool:
    """Return whether *error* holds *given* by itself: raised from it, or as a group around it."""
    held: set[int] = set()
    for inner in members(error):
        held |= {id(inner), id(_cause.__get__(inner))}
    if id(given) in held:
        return True
    if not isinstance(error, BaseExceptionGroup):
        return False
    return all(id(inner) in held for inner in members(given) if not isinstance(inner, BaseExceptionGroup))


def split_cancellation(error: BaseException) -> tuple[CancelledError | None, BaseException | None]:
    """Return a cancellation that *error* is, or that is in its group, and what is left without cancellations."""
    if isinstance(error, CancelledError):
        return error, None
    cancelled = next((inner for inner in members(error) if isinstance(inner, CancelledError)), None)
    if cancelled is None:
        return None, error
    return cancelled, _without_cancellations(cast("BaseExceptionGroup[BaseException]", error))


def _without_cancellations(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    left = [inner for inner in members(group) if not isinstance(inner, (BaseExceptionGroup, CancelledError))]
    if not left:
        return None
    try:
        return BaseExceptionGroup.split(group, CancelledError)[1]
    except Exception:  # nested too deep for that, or of a class that cannot be derived from
        flat = BaseExceptionGroup(group.message, left)
        set_context(flat, context_of(group))
        return with_traceback(flat, traceback_of(group))
