"""The public names of the test kit: what completion shows, where they say that they live, and which are gone."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import lifecycle
from lifecycle import testing

FACES = ["lifecycle.testing", *(f"lifecycle.testing.{room}" for room in ("faults", "machines", "orders", "types"))]
GONE = ["CANCEL", "DEFAULT_FAULTS", "FIFO", "PCT", "Choices", "FaultPlan", "Token", "Failure", "VirtualLoop", "Raise"]


@pytest.mark.parametrize("name", FACES)
def test_completion_shows_public_names_only(name: str) -> None:
    """No module that a face happens to import, and no private name; each of them can be had."""
    face = importlib.import_module(name)
    shown = dir(face)
    assert set(shown) >= set(face.__all__)
    assert not {"importlib", "annotations", "TYPE_CHECKING", "Any"} & set(shown)
    assert not [each for each in shown if each.startswith("_")]
    assert [getattr(face, each) for each in shown]


@pytest.mark.parametrize("name", FACES)
def test_public_names_say_where_to_import_them_from(name: str) -> None:
    """Tracebacks, reprs and documentation name the public module, and not the file in which a thing was written."""
    face = importlib.import_module(name)
    things = [getattr(face, each) for each in face.__all__]
    assert {thing.__module__ for thing in things if inspect.isclass(thing) or inspect.isfunction(thing)} == {name}


def test_errors_name_their_face_before_it_is_asked_for_them() -> None:
    """A traceback shows them to users who import nothing but ``run_virtual``."""
    program = "from lifecycle.testing._errors import LeakError; print(LeakError.__mro__)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("(<class 'lifecycle.testing.LeakError'>")
    assert issubclass(testing.LeakError, lifecycle.LifecycleError)
    assert issubclass(testing.LeakError, AssertionError)


def test_old_names_are_gone() -> None:
    """One name for one thing."""
    for name in GONE:
        assert not hasattr(testing, name), name
    assert not hasattr(lifecycle, "LeakError")
