"""In which manner the double behaves: like a server of today, or like the real one that the suite can build, 1.20."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Manner:
    """What differs between releases, as far as somebody who runs Jobs can see it.

    Args:
        version: major and minor, as text.
        schema: which of the official schemas objects are held to; there are none before 1.25.
        tracking: a pod of a Job carries a finalizer until it is counted, so a pod that is deleted counts as failed.
            Without it, a deleted pod is replaced as if it had never been.
        prefixed_labels: pods of Jobs carry their labels also with the prefix batch.kubernetes.io/.
        terminal_targets: a Job first says FailureTarget or SuccessCriteriaMet, and how many pods are still ending.
        suspend: a Job may be suspended; before, the field did not exist.
        indexed: pods may have an index each.
        generations: changes of a Job's spec are counted.
        strict_fields: the server itself can refuse unknown fields (fieldValidation=Strict).
        orphan_warning: who deletes a Job and does not say what becomes of its pods is warned.
    """

    version: str
    schema: str
    tracking: bool = True
    prefixed_labels: bool = True
    terminal_targets: bool = True
    suspend: bool = True
    indexed: bool = True
    generations: bool = True
    strict_fields: bool = True
    orphan_warning: bool = True


#: A release that clusters run today.
TODAY = Manner(version="1.32", schema="1.32.0")
#: The real server that the suite can build.
OLD = Manner(
    version="1.20",
    schema="1.25.0",
    tracking=False,
    prefixed_labels=False,
    terminal_targets=False,
    suspend=False,
    indexed=False,
    generations=False,
    strict_fields=False,
    orphan_warning=False,
)
MANNERS = {manner.version: manner for manner in (TODAY, OLD)}
