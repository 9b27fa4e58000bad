"""What the scheduler promises, looked for in all that happened in a storm, job by job and run by run."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable

from .history import ALLOWED, FINAL, History, Ledger, Story

LIMITS = {("queue", "narrow"): 2, ("handler", "single"): 1}
"""How many of the jobs run at once."""

RATES = {"paced": (30.0, 5)}
"""How many of a queue begin in a second, and how many at once."""

GOOD = ("succeeded", "skipped")
"""How a job ends that lets those go on which need it."""

OVERLAPS = {"alone": 1, "in line": 2, "latest": 1}
"""How many runs of a schedule there are that have not ended."""


def check_story(story: Story) -> None:
    """Check that a job did nothing but what a job may do: above all, that it ended, and only once."""
    state, attempt = "", 0
    for move in story.moves:
        old, new, number, *_ = move
        assert old == state, story
        assert (old, new) in ALLOWED, story
        assert not move.again or old != "succeeded" or story.runs_when, f"only what runs anyway succeeds twice: {story}"
        given_back = (old, new) == ("running", "pending") and number == attempt - 1
        assert number == attempt + ALLOWED[old, new] or given_back, story
        if move.begins:
            assert not move.early, f"begun before what it needs had ended well: {story}"
            assert not move.paused, f"begun while it was paused: {story}"
            assert move.began is not None
            assert move.expires is None or move.began < move.expires, f"begun after it had expired: {story}"
        state, attempt = new, number
    assert state in FINAL or (state == "" and story.moves[-1].old in FINAL), story


def check_times(story: Story) -> None:
    """Check that a job did not begin before the time of day that it was to wait for; by a clock that is not set."""
    began = next((move for move in story.moves if move.begins), None)
    if began is not None and began.at is not None and not story.again:
        assert began.began is not None
        assert began.began >= began.at, story


def check_crashes(story: Story, most: int) -> None:
    """Check that a job ends with its last crash, and only then because of one; here nothing else interrupts jobs."""
    crashes = 0
    for old, new, *_ in story.moves:
        crashes = (
            0 if old in FINAL else crashes + ((old, new) == ("running", "interrupted"))
        )  # again: from the beginning
        assert crashes <= most, story
        assert (old, new) != ("interrupted", "failed") or crashes == most, story


def check_needs(history: History, ledger: Ledger) -> int:
    """Check that no job began before those that it was submitted to need had succeeded; return how many did begin.

    What has succeeded may be repeated with its run: a job that was submitted before that does not wait for it again.
    """
    needs = {number: ledger.needs[name] for name, number in ledger.accepted.items() if name in ledger.needs}
    good: set[int] = set()
    begun = 0
    for job, move in history.order:
        if move.begins and job in needs:
            begun += 1
            assert good.issuperset(needs[job]), history.stories[job]
        if move.new in GOOD:
            good.add(job)
    return begun


def check_keys(history: History) -> int:
    """Check that of the jobs with one key, one at most had not ended; return how many had a key.

    The one before a job that replaces it has not ended while that waits, so that only what runs is counted here: what
    waits is the database's own, which refuses a second key.
    """
    running: dict[str, set[int]] = defaultdict(set)
    for job, move in history.order:
        story = history.stories[job]
        if story.key is not None and story.keeps_key:
            key = story.key
            (running[key].add if move.new == "running" else running[key].discard)(job)
            assert len(running[key]) <= 1, [history.stories[one] for one in running[key]]
    return sum(story.key is not None for story in history.stories.values())


def check_limits(history: History, ledger: Ledger) -> dict[object, int]:
    """Check from within the attempts that no more went on at once than may; return the most that did, by limit.

    An attempt counts from its first line to its last, until another one of its job begins, or its process is killed.
    Jobs with one key are such a limit, too.
    """
    stories = history.by_label()
    open_: dict[str, str] = {}
    most: Counter[object] = Counter()
    at_once: dict[object, set[str]] = defaultdict(set)
    for what, name, process in ledger.order:
        if what == "doomed":
            for other in [other for other, of in open_.items() if of == process]:
                del open_[other]
                for limit in _limits_of(stories[other]):
                    at_once[limit].discard(other)
        elif what == "begin":
            open_[name] = process
            for limit in _limits_of(stories[name]):
                at_once[limit].add(name)
                most[limit] = max(most[limit], len(at_once[limit]))
                assert len(at_once[limit]) <= LIMITS.get(limit, 1), f"{limit}: {at_once[limit]}"
        elif open_.get(name) == process:
            del open_[name]
            for limit in _limits_of(stories[name]):
                at_once[limit].discard(name)
    return most


def _limits_of(story: Story) -> Iterable[tuple[str, str]]:
    limits = [limit for limit in (("queue", story.queue), ("handler", story.handler or "")) if limit in LIMITS]
    return [*limits, *([("key", story.key)] if story.key and story.keeps_key else [])]


def check_rates(history: History, ledger: Ledger) -> int:
    """Check that in no stretch of time more attempts began than may; return how many began.

    Those that were given back before they had begun are not counted. When one began is the time of its claim.
    """
    began: dict[str, list[float]] = defaultdict(list)
    for story in history.stories.values():
        if story.queue in RATES:
            claims = {move.attempt: move.began for move in story.moves if move.begins}
            began[story.queue] += [at for number in ledger.begun[story.label] if (at := claims[number]) is not None]
    for queue, times in began.items():
        rate, burst = RATES[queue]
        whole_at = 0.0
        for at in sorted(times):
            assert at >= whole_at - (burst - 1) / rate - 1e-4, f"{queue}: more than may at {at}: {sorted(times)}"
            whole_at = max(whole_at, at) + 1 / rate
    return sum(map(len, began.values()))


def check_overlap(db: sqlite3.Connection, history: History) -> dict[str, int]:
    """Check that never more runs of a schedule were unfinished than may be; return how many there ever were."""
    names = dict(db.execute("SELECT id, name FROM schedules"))
    schedules = {job: names[schedule] for job, schedule in db.execute("SELECT job, schedule FROM dues")}
    unfinished: dict[str, set[int]] = defaultdict(set)
    count: Counter[str] = Counter()
    for job, move in history.order:
        name = schedules.get(job, "")
        if name in OVERLAPS:
            count[name] += move.old == ""
            (unfinished[name].discard if move.new in FINAL or not move.new else unfinished[name].add)(job)
            assert len(unfinished[name]) <= OVERLAPS[name], [history.stories[one] for one in unfinished[name]]
    return count


def check_due_times(db: sqlite3.Connection, *, strict: bool) -> int:
    """Check that every due time of every schedule was run once, or accounted for; return how many there were.

    Args:
        db: the store.
        strict: whether the clock was never set, so that due times come one after the other.
    """
    seen = Counter(db.execute("SELECT schedule, scheduled FROM dues"))
    assert not [due for due, times in seen.items() if times > 1], "a due time was run twice"
    columns = "id, name, kind, rule, anchor, missed, jitter, runs, missed_runs, skipped_runs, waiting, last_due"
    for row in db.execute(f"SELECT {columns}, next_due FROM schedules"):
        number, name, kind, rule, anchor, missed, jitter, runs, dropped, skipped, waiting, last, following = row
        query = "SELECT scheduled, due, delay FROM dues WHERE schedule = ? ORDER BY job"
        dues = db.execute(query, (number,)).fetchall()
        assert len(dues) == runs, name
        if not dues:
            continue
        assert dues[-1][0] == last, name
        assert waiting is None or name in OVERLAPS, name
        assert not skipped or name in OVERLAPS, name
        assert all(0.0 <= delay <= jitter for *_, delay in dues), name
        if kind != "fixed_rate" or not strict:
            continue
        assert all(not due or at - 1e-4 <= due <= at + jitter + 1e-4 for at, due, _ in dues), name
        steps = [round((at - anchor) / float(rule), 3) for at, *_ in dues]
        assert steps == sorted(steps), name
        assert all(step == int(step) for step in steps), f"{name}: each is on the grid"
        so_far = round((following - anchor) / float(rule)) - 1
        accounted = len(steps) + dropped + skipped + (waiting is not None)
        if missed == "burst":
            assert dropped == 0
            assert steps == [float(step) for step in range(1, len(steps) + 1)], f"{name}: none is skipped"
        assert so_far == accounted, f"{name}: what has no job is counted"
    return sum(seen.values())


def check_cleaning(db: sqlite3.Connection, history: History, ledger: Ledger, *, crashes: bool) -> Counter[str]:
    """Check for each run of the flow that cleans up what ran of it, and how it ended; return how often it did how.

    Args:
        db: the store.
        history: what happened.
        ledger: what was noted.
        crashes: whether a job may fail because it has crashed its process.
    """
    kept = {run: row for run, *row in db.execute("SELECT id, status, cancel FROM runs WHERE flow = 'cleaning'")}
    ends: Counter[str] = Counter()
    runs = history.runs()
    for run, (status, cancelled) in kept.items():
        jobs = runs[run]
        states = {name: story.end.new for name, story in jobs.items()}
        told = f"run {run}, {status}: {states}"
        assert cancelled is None or ledger.stopping[run], told
        assert status == _expected_status(states, cancelled is not None), told
        again = any(story.again for story in jobs.values())
        if not again and run in ledger.ran:
            assert ledger.ran[run] == status, told
        anyway = ("tidy", "unlock")
        if ledger.stopping[run] < 2:
            for name in anyway:
                assert states[name] == "succeeded" or (crashes and states[name] == "failed"), told
                assert crashes or ledger.ended[f"run{run}-{name}"], told
        if not again and cancelled is None:
            _check_which_ran(jobs, states, told)
            blocks = {name: state for name, state in states.items() if name not in ("unlock", "mail", "praise")}
            saw = ledger.saw.get(f"run{run}-unlock", "")
            assert saw == _expected_status(blocks, False) or crashes, f"{told}, but it was told {saw!r}"
        ends[status] += 1
    return ends


def _expected_status(states: dict[str, str], cancelled: bool) -> str:
    bad = {name for name, state in states.items() if state not in GOOD}
    if "loose" in bad and states["loose"] != "cancelled":  # it may fail
        bad.discard("loose")
    return "succeeded" if not bad else "cancelled" if cancelled else "failed"


def _check_which_ran(jobs: dict[str, Story], states: dict[str, str], told: str) -> None:
    """Check what of a run that nobody has touched was begun, and what was not."""
    made = states["make"] in GOOD
    used = made and states["use"] in GOOD
    blocks = ("make", "loose", "use", "index", "tell", "tidy")
    trouble = [name for name in (*blocks, "unlock") if states[name] not in GOOD]
    begun = {
        "make": True, "loose": True, "index": True, "tidy": True, "unlock": True,
        "use": made, "tell": not used, "mail": bool(trouble), "praise": set(trouble) & set(blocks) <= {"loose"},
    }  # fmt: skip
    for name, expected in begun.items():
        assert jobs[name].began == expected, f"{name}: {told}"
        assert expected or states[name] == ("skipped" if name in ("tell", "mail") else "cancelled"), f"{name}: {told}"


def check_counts(db: sqlite3.Connection) -> None:
    """Check that what is counted is what one counts, and that nobody waits for anything any more."""
    counted = {state: jobs for state, jobs in db.execute("SELECT state, jobs FROM counts") if jobs}
    assert counted == dict(db.execute("SELECT state, count(*) FROM jobs GROUP BY state"))
    for left in ("jobs WHERE finished IS NULL", "runs WHERE finished IS NULL", "runs WHERE unfinished", "owners"):
        assert db.execute(f"SELECT count(*) FROM {left}").fetchone() == (0,), left
    for run, unfinished in db.execute("SELECT id, unfinished FROM runs"):
        assert unfinished == 0, run
