"""What happened to a fleet: the workers' ledger, and every change of a job's state as the database saw it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

FINAL = ("succeeded", "failed", "cancelled", "timed_out", "skipped")

LOOK = """
CREATE TABLE public.moves (n bigserial, job bigint, old text, new text, attempt bigint, result text);
CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.state IS DISTINCT FROM OLD.state OR NEW.attempt IS DISTINCT FROM OLD.attempt THEN
        INSERT INTO public.moves (job, old, new, attempt, result) VALUES (
            NEW.id, CASE WHEN TG_OP = 'INSERT' THEN '' ELSE OLD.state END, NEW.state, NEW.attempt, NEW.result);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER look AFTER INSERT OR UPDATE ON lifecycle.jobs FOR EACH ROW EXECUTE FUNCTION public.look();
"""
"""Writes every change of a job's state into a table of its own, so that nothing can happen twice unseen."""


@dataclass(frozen=True)
class Line:
    """One line of the ledger."""

    word: str
    name: str
    attempt: int
    tag: str
    at: float


@dataclass
class Ledger:
    """What the workers have noted, in order."""

    lines: list[Line] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Read what there is so far."""
        found = []
        for text in path.read_text().splitlines():
            word, name, attempt, tag, at = text.split()
            found.append(Line(word, name, int(attempt), tag, float(at)))
        return cls(found)

    def of(self, word: str) -> list[Line]:
        """Return the lines that begin with this word."""
        return [line for line in self.lines if line.word == word]

    def running(self, dead: set[str]) -> dict[str, Line]:
        """Return the starts without an end, by name, of workers that are not dead."""
        found: dict[str, Line] = {}
        for line in self.lines:
            if line.word == "start" and line.tag not in dead:
                found[line.name] = line
            elif line.word in ("end", "cancelled", "left") and found.get(line.name, line).tag == line.tag:
                found.pop(line.name, None)
        return found

    def check_attempts(self) -> None:
        """Check that no attempt was begun twice, by whomever: each number is one worker's."""
        begun = Counter((line.name, line.attempt) for line in self.of("start"))
        assert not (twice := [one for one, times in begun.items() if times > 1]), f"attempts begun twice: {twice}"

    def check_doubt(self, doubted: set[str]) -> int:
        """Check that a job was begun again only because whoever ran it was in doubt; return how often that was."""
        last: dict[str, Line] = {}
        again = 0
        for line in self.lines:
            if line.word == "start":
                before = last.get(line.name)
                if before is not None and before.word == "start":
                    again += 1
                    assert before.tag in doubted, f"{line.name} begun again, though {before.tag} lived: {before} {line}"
                last[line.name] = line
            elif line.word in ("end", "cancelled", "left") and line.name in last and last[line.name].tag == line.tag:
                last[line.name] = line
        return again


@dataclass(frozen=True)
class Move:
    """One change of a job's state, as the database saw it."""

    job: int
    old: str
    new: str
    attempt: int
    result: str | None


def check_moves(moves: list[Move]) -> dict[int, Move]:
    """Check that every job has ended once, and did nothing afterwards; return how each has ended."""
    by_job: dict[int, list[Move]] = defaultdict(list)
    for move in moves:
        by_job[move.job].append(move)
    ends = {}
    for job, its in by_job.items():
        final = [move for move in its if move.new in FINAL]
        assert len(final) == 1, f"job {job} has ended {len(final)} times: {its}"
        assert its[-1] is final[0], f"job {job} went on after its end: {its}"
        back = [move for before, move in pairwise(its) if move.attempt < before.attempt and move.new != "pending"]
        assert not back, f"job {job} went back to an earlier attempt: {its}"
        ends[job] = final[0]
    return ends
