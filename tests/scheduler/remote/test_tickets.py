"""Names of work elsewhere: valid wherever they go, the same for the same work, and another one for any other."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from lifecycle.scheduler.kubernetes import KubernetesJob, job_manifest
from lifecycle.scheduler.remote import Ticket
from lifecycle.scheduler.remote._ticket import LONGEST_NAME, ticket_for

LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?")

STORES = st.text("0123456789abcdef", min_size=10, max_size=10)
NUMBERS = st.integers(1, 10**7) | st.integers(1, 2**63 - 1)
CREATED = st.just(0.0) | st.floats(1.7e9, 2e9)
TITLES = st.text(max_size=60) | st.sampled_from(
    ["", "-", "\N{SNOWMAN}" * 300, "x" * 300, "a" * 51 + "-b", "Trailing-", "\u0130stanbul", "\udcff", "9 lives"]
)
WORKS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
BEYONDS = st.fixed_dictionaries(
    {
        "store": STORES,
        "run": st.none() | NUMBERS,
        "job": NUMBERS,
        "created": CREATED,
        "first": st.integers(1, 10**6),
        "job_name": TITLES,
        "nth": st.integers(0, 5),
    }
)


LONGEST = {
    "store": "0" * 10,
    "run": 2**63 - 1,
    "job": 2**63 - 1,
    "created": 0.0,
    "first": 10**6,
    "job_name": "x",
    "nth": 0,
}


def ticket(beyond: dict[str, Any], path: str = "a/b", work: Any = "x", attempt: int = 9) -> Ticket:
    """Return a ticket for the nth of the same work."""
    nth = beyond["nth"]
    return ticket_for(SimpleNamespace(**beyond, attempt=attempt, count=lambda _same: nth), path, work)  # type: ignore[arg-type]


@given(BEYONDS, TITLES, WORKS)
@example(LONGEST, "", 1)
def test_every_name_is_a_label_of_dns(beyond: dict[str, Any], path: str, work: Any) -> None:
    """With room for what a cluster appends; and the same for each attempt."""
    one = ticket(beyond, path, work)
    assert LABEL.fullmatch(one.name)
    assert len(one.name) <= LONGEST_NAME <= 63 - 11
    again = ticket(beyond, path, work, attempt=10)
    assert (again.name, again.attempt) == (one.name, 10)


@given(BEYONDS, st.data())
def test_whatever_is_another_has_another_name(beyond: dict[str, Any], data: st.DataObject) -> None:
    """Another store, run, job, submission, first attempt, place, content, or the next one of the same."""
    one = ticket(beyond)
    what = data.draw(st.sampled_from(["store", "run", "job", "created", "first", "nth"]))
    others = {"store": STORES, "created": CREATED, "nth": st.integers(0, 9)}
    other = data.draw(others.get(what, NUMBERS))
    assume(other != beyond[what])
    assert ticket({**beyond, what: other}).name != one.name
    path, work = data.draw(TITLES), data.draw(WORKS)
    if path != "a/b":
        assert ticket(beyond, path).name != one.name
    if work != "x":
        assert ticket(beyond, work=work).name != one.name


@given(st.dictionaries(st.text(max_size=3), st.integers(), min_size=2, max_size=4))
def test_the_order_of_a_table_makes_no_other_work(work: dict[str, int]) -> None:
    """Nor does a process with other hashes."""
    beyond = {"store": "0" * 10, "run": 1, "job": 1, "created": 1.5, "first": 1, "job_name": "j", "nth": 0}
    turned = dict(reversed(work.items()))
    assert ticket(beyond, work=work).name == ticket(beyond, work=turned).name


def test_a_name_stays_what_it_was() -> None:
    """A scheduler of the next release takes up what this one has begun."""
    beyond = {**LONGEST, "store": "0123456789", "run": 3, "job": 14, "created": 1764600000.25, "first": 2}
    beyond |= {"job_name": "Train the Model!", "nth": 1}
    assert ticket(beyond, "train", {"image": "a"}).name == "train-the-model-3-14-2-4d44b6287d"


@given(BEYONDS, TITLES, st.sampled_from(["never", "failed", "always"]))
def test_labels_are_valid_whatever_things_are_called(beyond: dict[str, Any], path: str, keep: Any) -> None:
    """On the Job and on its pods; what people call it is an annotation."""
    one = ticket(beyond, path)
    manifest = KubernetesJob(manifest=job_manifest("image"), keep=keep).named(one, "jobs")
    for meta in (manifest["metadata"], manifest["spec"]["template"]["metadata"]):
        for value in meta["labels"].values():
            assert len(value) <= 63
            assert VALUE.fullmatch(value)
    assert beyond["job_name"] in manifest["metadata"]["annotations"]["asyncio-lifecycle/title"]
