"""``kubernetes``: a Job on a cluster, from a short form or a whole manifest."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, cast

from .._ground.errors import ExpressionError
from .._ground.text import quote
from .._ground.values import to_plain
from .._language.expressions import SECRET, Reference, Template, as_text, references
from .._work.shared import host_key
from .block import Block

if TYPE_CHECKING:
    from .._work.frame import Frame
    from ..kubernetes import KubernetesJob
    from .reader import BlockReader

HOST: Final = host_key("kubernetes")
"""Under which jobs share what runs them; a scheduler is given another one as ``hosts={"kubernetes": ...}``."""

_NO_SECRET: Final = (
    "a secret would stand in the cluster for all to read; put it into a Secret there and name that: "
    'secrets = { %s = "SECRET/KEY" }'
)

_WHOLE: Final = "a whole manifest, which is a table in place of the image"

_MANIFEST_ONLY: Final = frozenset({
    "affinity", "annotations", "backoffLimit", "completions", "dnsPolicy", "envFrom", "hostAliases", "hostNetwork",
    "imagePullPolicy", "initContainers", "lifecycle", "metadata", "parallelism", "podFailurePolicy", "ports",
    "priorityClass", "priorityClassName", "runtimeClassName", "securityContext", "spec", "suspend", "template",
    "tolerations", "topologySpreadConstraints", "volumeMounts",
})  # fmt: skip
"""What others write beside an image and the short form cannot say; our own spelling of it, with ``_``, counts too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesBlock(Block):
    """Runs a Job; the output is what its container wrote, with its exit code and where it ran.

    Attributes:
        image: what the container runs, compiled; None where there is a whole manifest.
        manifest: the whole Job, compiled; None where it is made of the rest.
        short: the other keys of the short form, compiled, by the names of `job_manifest`.
        cluster: the cluster's name, compiled.
        namespace: where it goes, compiled; empty for the cluster's.
        container: the container that counts, empty for the first.
        pull_timeout: seconds for its image.
        start_timeout: seconds until it runs.
        stop_timeout: seconds that stopping it may take.
        keep: whether it is left in the cluster when it has ended.
        leave: whether it is left running when the scheduler is closed and the job goes on later.
    """

    kind: ClassVar[str] = "kubernetes"
    image: Any
    manifest: Any
    short: dict[str, Any]
    cluster: Any
    namespace: Any
    container: str
    pull_timeout: float
    start_timeout: float
    stop_timeout: float
    keep: str
    leave: bool

    async def run(self, frame: Frame) -> object:
        """Run the Job to its end, and return what is known of that when it has succeeded."""
        from ..kubernetes import Kubernetes
        from ..remote._running import Errand

        if frame.context.shared is None:
            raise RuntimeError("a kubernetes block belongs to a job of a scheduler")
        work = self._work(frame)
        host = await frame.context.shared.get(HOST, Kubernetes)
        key = {"manifest": work.manifest, "cluster": work.cluster, "namespace": work.namespace}
        errand = Errand(host, work, frame.context, key=key, path=frame.path, leave=self.leave)
        end = (await errand.run(frame.scope, self.stop_timeout)).check()
        output = {"output": end.output, "exit_code": end.exit_code, "message": end.message, **end.details}
        return to_plain(output, f"the output of {frame.path}")

    def _work(self, frame: Frame) -> KubernetesJob:
        from ..kubernetes import KubernetesJob, job_manifest

        try:
            if self.manifest is not None:
                manifest = frame.resolve(self.manifest)
            else:
                manifest = job_manifest(as_text(frame.resolve(self.image)), **_texts(frame.resolve(self.short)))
            return KubernetesJob(
                manifest=manifest,
                cluster=as_text(frame.resolve(self.cluster)),
                namespace=as_text(frame.resolve(self.namespace)) or None,
                container=self.container or None,
                pull_timeout=self.pull_timeout,
                start_timeout=self.start_timeout,
                keep=cast(Literal["never", "failed", "always"], self.keep),
            )
        except (TypeError, ValueError) as error:
            raise ExpressionError(f"kubernetes: {error}") from None

    def references(self) -> Iterator[Reference]:
        """Yield the references in everything that goes to the cluster."""
        for value in (self.image, self.manifest, self.short, self.cluster, self.namespace):
            yield from references(value)


def _texts(short: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of the short form with texts where the cluster wants texts: numbers are written as such."""
    for key in ("command", "args", "pull_secrets"):
        if key in short:
            short[key] = [as_text(item) for item in short[key]]
    for key in ("env", "secrets", "labels", "node_selector"):
        if key in short:
            short[key] = {name: as_text(value) for name, value in short[key].items()}
    return short


def read_kubernetes(reader: BlockReader) -> KubernetesBlock:
    """Read ``kubernetes`` (an image, or a table that is the manifest) and what belongs to the Job."""
    if importlib.util.find_spec("kubernetes_asyncio") is None:
        reader.problem("kubernetes", "needs kubernetes_asyncio: pip install 'asyncio-lifecycle[kubernetes]'")
    given = reader.value("kubernetes")
    whole = isinstance(given, dict)
    if not whole and (not isinstance(given, (str, Template)) or given == ""):
        reader.problem("kubernetes", f"expected an image, or a table with the manifest of a Job, got {quote(given)}")
    if isinstance(given, str) and given.endswith((".yaml", ".yml", ".json")):
        said = f"expected an image, got what looks like a file, {quote(given)}; a manifest is given as a table"
        reader.problem("kubernetes", said)
    short = {} if whole else {key: value for key, read in _SHORT.items() if (value := read(reader, key)) is not None}
    block = KubernetesBlock(
        **reader.common(),
        image=None if whole else given,
        manifest=given if whole else None,
        short=short,
        cluster=_name(reader, "cluster") or "default",
        namespace=_name(reader, "namespace") or "",
        container=reader.text("container"),
        pull_timeout=reader.seconds("pull_timeout", 300.0) or 0.0,
        start_timeout=reader.seconds("start_timeout", 600.0) or 0.0,
        stop_timeout=reader.seconds("stop_timeout", 60.0, positive=True) or 60.0,
        keep=reader.choice("keep", ("never", "failed", "always")),
        leave=reader.choice("on_drain", ("leave", "delete")) == "leave",
    )
    for reference in block.references():
        if reference.root == SECRET:
            reader.problem("kubernetes", _NO_SECRET % reference.steps[0])
    for key in reader.unread():
        first, *rest = key.split("_")
        if not whole and first + "".join(word.capitalize() for word in rest) in _MANIFEST_ONLY:
            reader.raw(key)
            reader.problem(key, f"not a key of the short form; it is said by {_WHOLE}")
    if not reader.problems.count and importlib.util.find_spec("kubernetes_asyncio") is not None:
        _check_whole(reader, block)
    return block


def _check_whole(reader: BlockReader, block: KubernetesBlock) -> None:
    """Report what is wrong with a Job that has no expressions: it is known before anything runs."""
    from ..kubernetes import KubernetesJob, job_manifest

    if any(True for _ in block.references()):
        return
    try:
        short = _texts(dict(block.short))
        manifest = block.manifest if block.manifest is not None else job_manifest(block.image, **short)
        namespace = block.namespace if isinstance(block.namespace, str) else None
        KubernetesJob(manifest=manifest, namespace=namespace, container=block.container or None)
    except (TypeError, ValueError) as error:
        reader.problem("kubernetes", str(error))


def _name(reader: BlockReader, key: str) -> Any:
    value = reader.value(key, "")
    if not isinstance(value, (str, Template)):
        reader.problem(key, f"expected a name, got {quote(value)}")
        return ""
    return value


def _optional_name(reader: BlockReader, key: str) -> Any:
    return _name(reader, key) or None


def _list(reader: BlockReader, key: str) -> Any:
    items = reader.value(key)
    if key not in reader:
        return None
    if not isinstance(items, list) or any(isinstance(item, (list, dict)) or item is None for item in items):
        reader.problem(key, f"expected a list of strings and numbers, got {quote(items)}")
        return None
    return items


def _values(reader: BlockReader, key: str) -> Any:
    table = reader.value(key)
    if key not in reader:
        return None
    if not isinstance(table, dict):
        reader.problem(key, f"expected a table of strings and numbers, got {quote(table)}")
        return None
    wrong = [name for name, value in table.items() if isinstance(value, (list, dict)) or value is None]
    for name in wrong:
        reader.problem(f"{key}.{name}", f"expected a string or a number, got {quote(table[name])}{_advice(key, name)}")
    return None if wrong else table


def _advice(key: str, name: str) -> str:
    """Return where that is said which others write below a key of the short form."""
    if key == "resources" and name in ("requests", "limits"):
        return f"; what is given is requested and the limit alike, as in {{ cpu = 2 }}; else it is said by {_WHOLE}"
    if key == "env":
        return '; a value out of a Secret is said by secrets = { NAME = "SECRET/KEY" }'
    return ""


def _tables(reader: BlockReader, key: str) -> Any:
    table = reader.value(key)
    if key not in reader:
        return None
    if not isinstance(table, dict) or not all(isinstance(value, dict) for value in table.values()):
        reader.problem(key, f"expected a table of tables, got {quote(table)}")
        return None
    return table


def _seconds(reader: BlockReader, key: str) -> Any:
    return reader.seconds(key)


_SHORT: Final[dict[str, Callable[[BlockReader, str], Any]]] = {
    "command": _list,
    "args": _list,
    "env": _values,
    "secrets": _values,
    "resources": _values,
    "volumes": _tables,
    "node_selector": _values,
    "service_account": _optional_name,
    "pull_secrets": _list,
    "cwd": _optional_name,
    "labels": _values,
    "deadline": _seconds,
    "grace": _seconds,
    "ttl": _seconds,
    "output": _optional_name,
}
"""The keys of the short form, and what reads each; the arguments of `job_manifest` have the same names."""
