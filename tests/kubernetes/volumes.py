"""What a container finds where it runs: files and environment, for a process without a file system of its own.

Each container has a folder that stands for its root. What the pod mounts on ``/data`` is ``data`` below that folder,
and the file for its last words, ``/dev/termination-log`` unless the pod says otherwise, is there as well. The process
still sees the machine's root. So:

- a path that is mounted, that of the last words included, is replaced by the real one in ``command``, ``args``,
  ``workingDir`` and the values of ``env``, wherever it stands as a whole or as a beginning up to a ``/``;
- the variable ``CONTAINER_ROOT`` names the folder, for programs that make paths themselves;
- a relative ``workingDir``, or one that nobody mounts, is a folder below it, and without one it is the folder itself.

Claims are folders that all pods of a kubelet share; ``subPath`` is followed; ``readOnly`` is not enforced.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .api import ApiError

Object = dict[str, Any]
Read = Callable[[str, str], Awaitable[Object]]
"""Returns the config map or the secret (``configmaps``, ``secrets``) of that name."""

LAST_WORDS = "/dev/termination-log"


class NotThere(Exception):
    """What a pod refers to is not there, in the words of a kubelet."""


async def fill(pod: Object, folder: Path, claims: Path, read: Read) -> dict[str, Path]:
    """Make the volumes of a pod, and return where each is.

    Raises:
        NotThere: a config map or a secret is missing, or it is a kind of volume that we do not know.
    """
    found = {}
    for volume in pod["spec"].get("volumes") or []:
        name = volume["name"]
        place = folder / name
        if claim := volume.get("persistentVolumeClaim"):
            place = claims / pod["metadata"]["namespace"] / claim["claimName"]
        place.mkdir(parents=True, exist_ok=True)
        try:
            for source in (volume.get("projected") or {}).get("sources", [volume]):
                await _fill_one(pod, source, place, read)
        except NotThere as error:
            raise NotThere(f'MountVolume.SetUp failed for volume "{name}" : {error}') from None
        found[name] = place
    return found


async def _fill_one(pod: Object, source: Object, place: Path, read: Read) -> None:
    """Write what one source of a volume has."""
    if (config := source.get("configMap")) is not None:
        await _fill_from("configmaps", config, config["name"], place, read)
    elif (secret := source.get("secret")) is not None:
        await _fill_from("secrets", secret, secret.get("secretName") or secret["name"], place, read)
    elif (downward := source.get("downwardAPI")) is not None:
        for item in downward.get("items") or []:
            target = place / item["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(field(pod, item["fieldRef"]["fieldPath"]))
    elif not source.keys() & {"emptyDir", "persistentVolumeClaim", "serviceAccountToken"}:
        raise NotThere(f"no such kind of volume here: {sorted(source.keys() - {'name'})}")


async def _fill_from(kind: str, source: Object, name: str, place: Path, read: Read) -> None:
    """Write what a config map or a secret has."""
    try:
        data = contents(await read(kind, name))
    except ApiError as error:
        if error.status == 404 and source.get("optional"):
            return
        raise _missing(error, kind, name) from None
    items = source.get("items") or [{"key": key, "path": key} for key in data]
    for item in items:
        if item["key"] not in data:
            if source.get("optional"):
                continue
            raise NotThere(f"references non-existent {kind.removesuffix('s')} key: {item['key']}")
        target = place / item["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data[item["key"]])
        target.chmod(item.get("mode") or source.get("defaultMode") or 0o644)


def contents(thing: Object) -> dict[str, bytes]:
    """Return what is in a config map or in a secret."""
    secret = thing.get("kind") == "Secret" or "type" in thing
    plain = {
        key: base64.b64decode(value) if secret else value.encode() for key, value in (thing.get("data") or {}).items()
    }
    return plain | {key: base64.b64decode(value) for key, value in (thing.get("binaryData") or {}).items()}


def _missing(error: ApiError, kind: str, name: str) -> Exception:
    return NotThere(f'{kind.removesuffix("s")} "{name}" not found') if error.status == 404 else error


def field(pod: Object, path: str) -> str:
    """Return a field of a pod, as the downward API has it."""
    if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        values = pod["metadata"].get(path.rpartition(".")[2]) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(values.items()))
    fixed = {"status.hostIP": "127.0.0.1", "status.podIP": "127.0.0.1", "status.podIPs": "127.0.0.1"}
    if path in fixed:
        return fixed[path]
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


async def environment(pod: Object, container: Object, read: Read) -> dict[str, str]:
    """Return the variables that a container asks for, in order, with references to others in them replaced.

    Raises:
        NotThere: a config map, a secret or a key of it is missing.
    """
    values: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        kind = "configmaps" if "configMapRef" in source else "secrets"
        reference = source.get("configMapRef") or source.get("secretRef") or {}
        for key, value in (await _look_up(kind, reference, read)).items():
            values[source.get("prefix", "") + key] = value.decode()
    for variable in container.get("env") or []:
        name, wanted = variable["name"], variable.get("valueFrom") or {}
        if "fieldRef" in wanted:
            values[name] = field(pod, wanted["fieldRef"]["fieldPath"])
        elif "resourceFieldRef" in wanted:
            group, _, what = wanted["resourceFieldRef"]["resource"].partition(".")
            values[name] = str((container.get("resources") or {}).get(group, {}).get(what, "0"))
        elif "configMapKeyRef" in wanted or "secretKeyRef" in wanted:
            kind = "configmaps" if "configMapKeyRef" in wanted else "secrets"
            reference = wanted.get("configMapKeyRef") or wanted["secretKeyRef"]
            data = await _look_up(kind, reference, read)
            if reference["key"] in data:
                values[name] = data[reference["key"]].decode()
            elif not reference.get("optional"):
                title = "ConfigMap" if kind == "configmaps" else "Secret"
                space = pod["metadata"]["namespace"]
                raise NotThere(f"couldn't find key {reference['key']} in {title} {space}/{reference['name']}")
        else:
            values[name] = expand(variable.get("value") or "", values)
    return values


async def _look_up(kind: str, reference: Object, read: Read) -> dict[str, bytes]:
    try:
        return contents(await read(kind, reference["name"]))
    except ApiError as error:
        if error.status == 404 and reference.get("optional"):
            return {}
        raise _missing(error, kind, reference["name"]) from None


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by a value; what is not known stays as it is, and ``$$(NAME)`` means ``$(NAME)``."""

    def replace(found: re.Match[str]) -> str:
        if found[0].startswith("$$"):
            return found[0][1:]
        return values.get(found[1], found[0])

    return re.sub(r"\$?\$\(([^()]+)\)", replace, text)


class Root:
    """The folder that stands for the root of one container.

    Args:
        folder: which one; it is made.
        container: the container, as the pod has it.
        volumes: where the volumes of the pod are.
    """

    def __init__(self, folder: Path, container: Object, volumes: Mapping[str, Path]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._paths: dict[str, Path] = {}
        for mount in container.get("volumeMounts") or []:
            path = "/" + mount["mountPath"].strip("/")
            target = volumes[mount["name"]] / mount.get("subPath", "")
            if not target.exists():
                target.mkdir(parents=True)
            here = folder / path[1:]
            here.parent.mkdir(parents=True, exist_ok=True)
            here.symlink_to(target)
            self._paths[path] = here
        self._last_words = container.get("terminationMessagePath") or LAST_WORDS
        inside = self.place(self._last_words)
        if inside == self._last_words:
            inside = str(folder / self._last_words.lstrip("/"))
            self._paths[self._last_words] = Path(inside)
        self.last_words = Path(inside)
        self.last_words.parent.mkdir(parents=True, exist_ok=True)
        self.last_words.write_bytes(b"")

    def place(self, text: str) -> str:
        """Return a text in which paths that are mounted are those that they really have."""
        if not self._paths:
            return text
        longest = sorted(self._paths, key=len, reverse=True)
        pattern = rf"(?<![\w./-])(?:{'|'.join(re.escape(path) for path in longest)})(?![\w.-])"
        return re.sub(pattern, lambda found: str(self._paths[found[0]]), text)

    def working_directory(self, container: Object) -> Path:
        """Return where a container starts; it is made."""
        wanted = container.get("workingDir") or ""
        placed = self.place(wanted)
        path = Path(placed) if placed != wanted else self.folder / wanted.lstrip("/")
        path.mkdir(parents=True, exist_ok=True)
        return path

    def read_last_words(self) -> str:
        """Return what the container has left: the last 4096 bytes of it."""
        try:
            return self.last_words.read_bytes()[-4096:].decode(errors="replace")
        except OSError:
            return ""


def texts(container: Object) -> Iterator[str]:
    """Yield the words of its command line."""
    yield from container.get("command") or []
    yield from container.get("args") or []
