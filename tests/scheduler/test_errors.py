"""The public face of the scheduler: its names, and its errors in two places."""

from __future__ import annotations

import pickle

import lifecycle.scheduler
from lifecycle import LifecycleError
from lifecycle.scheduler import JobStatus, errors


def test_names_show_the_face_that_they_are_imported_from() -> None:
    """In tracebacks and pickles; and completion shows public names only."""
    for face in (lifecycle.scheduler, errors):
        assert {getattr(face, name).__module__ for name in face.__all__} == {face.__name__}
        assert not [name for name in dir(face) if name.startswith("_")]
        assert list(face.__all__) == sorted(face.__all__)
    assert pickle.loads(pickle.dumps(JobStatus.FAILED)) is JobStatus.FAILED


def test_an_error_has_one_place() -> None:
    """Those of jobs are in ``errors``, and all are of the family."""
    assert not set(errors.__all__) & set(lifecycle.scheduler.__all__)
    assert all(issubclass(getattr(errors, name), LifecycleError) for name in errors.__all__)
