"""The life of one pod on our kubelet: from the binding to its end, and what is told of it on the way."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .api import MERGE, STRATEGIC, ApiError
from .containers import OUT_OF_MEMORY, SCRIPT, CannotStart, Container, Exit, Process, Script, reference_is_valid
from .logs import Log
from .statuses import NEVER, ContainerState, condition, conditions, merged, now, phase_of
from .volumes import NotThere, Root, environment, expand, fill

if TYPE_CHECKING:
    from .kubelet import Kubelet

Object = dict[str, Any]

NEVER_PULLED = "never-pulled/"
"""How the name of an image begins that no registry has."""

LONGEST_BACK_OFF = 300.0
TERMINAL = ("Succeeded", "Failed")


class Gone(Exception):
    """The API does not know this pod any more."""


@dataclass(frozen=True)
class Ending:
    """Why a pod ends before its containers do by themselves.

    Attributes:
        grace: seconds that its containers have after SIGTERM.
        deletes: whether its end is confirmed by deleting it.
        reason: of a pod that has failed; empty for one of which only its containers tell.
        message: the same in a sentence.
        because: a condition that says more.
    """

    grace: float
    deletes: bool = False
    reason: str = ""
    message: str = ""
    because: Object | None = None

    def and_also(self, other: Ending) -> Ending:
        """Return this one after another has come: the first reason stays, the shorter grace is granted."""
        return replace(self, grace=min(self.grace, other.grace), deletes=self.deletes or other.deletes)


class Pod:
    """One pod.

    Args:
        node: the kubelet that it runs on.
        seen: the pod as the API has it.
    """

    def __init__(self, node: Kubelet, seen: Object) -> None:
        self.node, self.seen = node, seen
        self.uid: str = seen["metadata"]["uid"]
        self.key = (seen["metadata"]["namespace"], seen["metadata"]["name"])
        self.over = False
        self.cause: Ending | None = None
        spec = seen["spec"]
        self.inits = [_state(it, spec) for it in spec.get("initContainers") or []]
        self.containers = [_state(it, spec) for it in spec["containers"]]
        self.logs: dict[str, Log] = {}
        self.previous: dict[str, Log] = {}
        self.quiet = all(it["image"].startswith(SCRIPT) for it in self._specs())
        self._policy: str = spec.get("restartPolicy", "Always")
        self._ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone = self._confirmed = False
        self._deadline: asyncio.TimerHandle | None = None
        self._running: dict[Container, asyncio.Task[Exit]] = {}
        self._began = ""
        self._told: Object = {}
        self._reporting = asyncio.Lock()
        self._volumes: Mapping[str, Path] = {}
        self._folder = node.folder / "pods" / self.uid

    @property
    def path(self) -> str:
        """Where it is in the API."""
        return f"/api/v1/namespaces/{self.key[0]}/pods/{self.key[1]}"

    @property
    def bound(self) -> bool:
        """Whether it has been given to our node."""
        return bool(self.seen["spec"].get("nodeName")) or bool(self._began)

    def look(self, seen: Object) -> None:
        """Take note of what the API has now."""
        if _version(seen) < _version(self.seen):
            return
        self.seen = seen
        if seen["metadata"].get("deletionTimestamp"):
            self.end(Ending(float(seen["metadata"].get("deletionGracePeriodSeconds") or 0), deletes=True))

    def leave(self) -> None:
        """Take note that the API has it no more: it ends, and nothing is told."""
        self._gone = True
        self.end(Ending(self.node.least_grace))

    def end(self, ending: Ending) -> None:
        """Let it end. One that ends already keeps its reason, and may have less time."""
        if self.over:
            if ending.deletes and not self._gone and not self._confirmed:
                self._confirmed = True
                self.node.spawn(self._confirm())
            return
        self.cause = ending if self.cause is None else self.cause.and_also(ending)
        if not self._ending.done():
            self._ending.set_result(None)
            if self._running:
                self.node.event(self, "Normal", "Killing", f"Stopping container {self.containers[0].name}")
        for container in self._running:
            self._stop(container)

    async def run(self) -> None:
        """Live; return when it has ended and that was told, or when nobody wants to know."""
        try:
            if await self._bind():
                await self._live()
        except* Gone:  # its containers run in a group
            self._gone = True
        finally:
            for container in self._running:
                container.kill()
            if self._running:
                await asyncio.wait(list(self._running.values()))
            self.over = True
            if self._deadline is not None:
                self._deadline.cancel()
            shutil.rmtree(self._folder, ignore_errors=True)
        if self.cause is not None and self.cause.deletes and not self._gone:
            self._confirmed = True
            await self._confirm()

    def tell_again(self) -> None:
        """Report at the next opportunity what was reported already: others have written meanwhile."""
        self._told = {}
        if not self.over and self._began:
            self.node.spawn(self._report_or_leave())

    def status(self) -> Object:
        """Return its status as it is now."""
        ending, cause = self._ending.done(), self.cause
        phase = phase_of(self._policy, self.inits, self.containers, ending)
        told: Object = {}
        new = []
        stopped = ending and not self._running
        if cause is not None and cause.reason and stopped:
            phase = "Failed"
            told = {"reason": cause.reason, "message": cause.message}
            new = [cause.because] if cause.because else []
        new = [*conditions(phase, self.inits, self.containers), *new]
        if self._began:
            told["startTime"] = self._began
            told |= {"hostIP": "127.0.0.1", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
        if self.inits:
            told["initContainerStatuses"] = [it.report(initial=True) for it in self.inits]
        return {
            "phase": phase,
            **told,
            "conditions": merged(self.seen.get("status", {}).get("conditions") or [], new),
            "containerStatuses": [it.report() for it in self.containers],
        }

    async def report(self) -> None:
        """Tell the API what it does not know yet."""
        async with self._reporting:
            status = self.status()
            if status == self._told:
                return
            while True:
                try:
                    # The id makes sure that it is not another pod of that name; and who evicts it meanwhile has set a
                    # condition that we have not seen yet, and that stays.
                    body = {"metadata": {"uid": self.uid}, "status": status}
                    seen = await self._call("PATCH", f"{self.path}/status", body, STRATEGIC)
                    break
                except ApiError as error:
                    if error.status != 409 or (await self._call("GET", self.path))["metadata"]["uid"] != self.uid:
                        raise Gone from None
            self._told = status
            self.look(seen)

    async def _report_or_leave(self) -> None:
        try:
            await self.report()
        except Gone:
            self.leave()

    async def _call(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Any:
        """Ask the API, as soon as there is an answer and our node is not lost.

        Raises:
            Gone: there is no such thing.
        """
        await self.node.online.wait()
        async with self.node.slots:
            try:
                return await self.node.api.surely(method, path, body, kind)
            except ApiError as error:
                if error.status == 404 and path.startswith(self.path):
                    raise Gone from None
                raise

    async def _bind(self) -> bool:
        """Take it, and return whether it is ours."""
        if self.bound:
            return True
        if complaint := self.node.complaint(self.seen):
            await self._say_unschedulable(complaint)
            return False
        namespace, name = self.key
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": namespace, "name": name, "uid": self.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.node.name},
        }
        try:
            await self._call("POST", f"{self.path}/binding", body)
        except ApiError as error:  # somebody was quicker; it may have been we, and the answer was lost
            if error.status != 409:
                raise
            return bool((await self._call("GET", self.path))["spec"].get("nodeName") == self.node.name)
        if not self.quiet:
            message = f"Successfully assigned {namespace}/{name} to {self.node.name}"
            self.node.event(self, "Normal", "Scheduled", message, "default-scheduler")
        return True

    async def _say_unschedulable(self, complaint: str) -> None:
        """Tell why it stays where it is, then wait for its end."""
        message = f"0/1 nodes are available: 1 {complaint}."
        new = merged(
            self.seen.get("status", {}).get("conditions") or [],
            [condition("PodScheduled", False, "Unschedulable", message)],
        )
        self.node.event(self, "Warning", "FailedScheduling", message, "default-scheduler")
        await self._call("PATCH", f"{self.path}/status", {"status": {"conditions": new}}, MERGE)
        await asyncio.wait([self._ending])

    async def _live(self) -> None:
        """Run its containers, and tell how that went."""
        self._began = now()
        spec = self.seen["spec"]
        if self.node.shutting_down:
            self.end(self.node.rejection())
        if (deadline := spec.get("activeDeadlineSeconds")) is not None:
            message = "Pod was active on the node longer than the specified deadline"
            ending = Ending(_grace(spec), reason="DeadlineExceeded", message=message)
            self._deadline = asyncio.get_running_loop().call_later(deadline, self.end, ending)
        if not self.quiet:
            await self.report()
        if await self._fill_volumes():
            for state, it in zip(self.inits, spec.get("initContainers") or [], strict=True):
                if not await self._run_container(it, state, initial=True):
                    break
            else:
                async with asyncio.TaskGroup() as group:
                    for state, it in zip(self.containers, spec["containers"], strict=True):
                        group.create_task(self._run_container(it, state))
        never_began = not any(it.terminated for it in (*self.inits, *self.containers))
        if not self._gone and not (never_began and self.cause is not None and not self.cause.reason):
            await self.report()

    async def _fill_volumes(self) -> bool:
        """Make its volumes, and return whether that was done before it has to end."""
        if not self.seen["spec"].get("volumes"):
            return not self._ending.done()
        while not self._ending.done():
            try:
                self._volumes = await fill(self.seen, self._folder / "volumes", self.node.folder / "claims", self._read)
                return True
            except NotThere as error:
                self.node.event(self, "Warning", "FailedMount", str(error))
                await self._pause(self.node.sync)
        return False

    async def _run_container(self, spec: Object, state: ContainerState, *, initial: bool = False) -> bool:
        """Run one container, again and again where its pod says so, and return whether it has succeeded."""
        back_off = self.node.back_off
        while await self._pull(spec, state):
            if (prepared := await self._prepare(spec, state)) is None:
                return False
            await self._run_once(spec, state, *prepared)
            done = self._policy == "Never" or (state.succeeded and (initial or self._policy == "OnFailure"))
            if done or self._ending.done():
                if self._running or initial:
                    await self.report()
                return state.succeeded
            state.begins_again()
            namespace, name = self.key
            wait = f"back-off {back_off:g}s restarting failed container={state.name} pod={name}_{namespace}({self.uid})"
            state.waits("CrashLoopBackOff", wait)
            self.node.event(self, "Warning", "BackOff", f"Back-off restarting failed container {state.name}")
            await self.report()
            await self._pause(back_off)
            back_off = min(2 * back_off, LONGEST_BACK_OFF)
        return False

    async def _run_once(self, spec: Object, state: ContainerState, container: Container, root: Root | None) -> None:
        try:
            await container.start()
        except CannotStart as error:
            message = f'failed to create containerd task: exec: "{error}": executable file not found in $PATH: unknown'
            state.ends(128, "StartError", message, NEVER, now())
            self.node.event(self, "Warning", "Failed", f"Error: {message}")
            self.logs[state.name].end()
            return
        state.runs(container.started)
        self._running[container] = ended = asyncio.create_task(container.wait())
        if self._ending.done():
            self._stop(container)
        if not isinstance(container, Script) or container.takes_time:
            if not self.quiet:
                self.node.event(self, "Normal", "Started", f"Started container {state.name}")
            await self.report()
        await asyncio.wait([ended])
        del self._running[container]
        end = ended.result()
        message = container.message if isinstance(container, Script) else ""
        if root is not None:
            message = root.read_last_words()
        if not message and end.code and spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            message = self.logs[state.name].tail(80, 2048)
        state.ends(end.code, end.reason, message, end.started, end.finished)

    async def _pull(self, spec: Object, state: ContainerState) -> bool:
        """Get its image, and return whether that was done before it has to end."""
        image: str = spec["image"]
        if not image.startswith(SCRIPT) and not reference_is_valid(image):
            message = f'couldn\'t parse image name "{image}": invalid reference format'
            state.waits("InvalidImageName", f'Failed to apply default image tag "{image}": {message}')
            self.node.event(self, "Warning", "InspectFailed", state.state["waiting"]["message"])
            await self.report()
            await asyncio.wait([self._ending])
        back_off = self.node.image_back_off
        while image.startswith(NEVER_PULLED) and not self._ending.done():
            failure = f'failed to pull and unpack image "docker.io/{image}": failed to resolve reference: not found'
            state.waits("ErrImagePull", failure)
            self.node.event(self, "Normal", "Pulling", f'Pulling image "{image}"')
            self.node.event(self, "Warning", "Failed", f'Failed to pull image "{image}": {failure}')
            self.node.event(self, "Warning", "Failed", "Error: ErrImagePull")
            await self.report()
            await self._pause(back_off / 2)
            state.waits("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {failure}')
            self.node.event(self, "Normal", "BackOff", f'Back-off pulling image "{image}"')
            self.node.event(self, "Warning", "Failed", "Error: ImagePullBackOff")
            await self.report()
            await self._pause(back_off / 2)
            back_off = min(2 * back_off, LONGEST_BACK_OFF)
        return not self._ending.done()

    async def _prepare(self, spec: Object, state: ContainerState) -> tuple[Container, Root | None] | None:
        """Return a container that can be started, and its root; None when it has to end before that."""
        values = None
        while not self._ending.done():
            try:
                values = await environment(self.seen, spec, self._read)
                break
            except NotThere as error:
                state.waits("CreateContainerConfigError", str(error))
                self.node.event(self, "Warning", "Failed", f"Error: {error}")
                await self.report()
                await self._pause(self.node.sync)
        if values is None:
            return None
        if state.name in self.logs:
            self.previous[state.name] = self.logs[state.name]
        self.logs[state.name] = log = Log(self.node.log_bytes)
        if spec["image"].startswith(SCRIPT):
            return Script(spec["image"], log), None
        words = [*(spec.get("command") or []), *(spec.get("args") or [])]
        if not words:
            words = ["false" if spec["image"].startswith(OUT_OF_MEMORY) else ""]
        if not words[0]:
            state.waits("CreateContainerError", "failed to generate container spec: no command specified")
            self.node.event(self, "Warning", "Failed", "Error: no command specified")
            await self.report()
            await asyncio.wait([self._ending])
            return None
        root = Root(self._folder / "roots" / state.name / str(state.restarts), spec, self._volumes)
        known = {**self.node.environment, "HOSTNAME": self.key[1], "HOME": str(root.folder)}
        known |= {"CONTAINER_ROOT": str(root.folder)} | {name: root.place(value) for name, value in values.items()}
        command = [root.place(expand(word, values)) for word in words]
        out_of_memory = spec["image"].startswith(OUT_OF_MEMORY)
        directory = root.working_directory(spec)
        return Process(command, known, directory, log, self.node.keeper, out_of_memory=out_of_memory), root

    async def _read(self, kind: str, name: str) -> Object:
        found: Object = await self._call("GET", f"/api/v1/namespaces/{self.key[0]}/{kind}/{name}")
        return found

    async def _pause(self, seconds: float) -> None:
        """Wait that long, or until it has to end."""
        await asyncio.wait([self._ending], timeout=seconds)

    def _stop(self, container: Container) -> None:
        """Ask a container to end, and let it be killed later."""
        assert self.cause is not None
        container.ask_to_end()
        asyncio.get_running_loop().call_later(self.cause.grace, container.kill)

    async def _confirm(self) -> None:
        """Delete it: all that was to be ended here has ended."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
        with contextlib.suppress(ApiError, Gone):  # another has done it, or it is another pod of that name
            await self._call("DELETE", self.path, {**body, "preconditions": {"uid": self.uid}})

    def _specs(self) -> list[Object]:
        return [*(self.seen["spec"].get("initContainers") or []), *self.seen["spec"]["containers"]]


def _state(spec: Object, pod: Object) -> ContainerState:
    """Return the state of a container before anything was done."""
    reason = "PodInitializing" if pod.get("initContainers") else "ContainerCreating"
    return ContainerState(spec["name"], spec["image"], {"waiting": {"reason": reason}})


def _grace(spec: Object) -> float:
    """Return the seconds that the containers of a pod have."""
    return float(spec.get("terminationGracePeriodSeconds", 30))


def _version(seen: Object) -> int:
    """Return how new it is."""
    text = seen["metadata"].get("resourceVersion", "")
    return int(text) if text.isdigit() else 0
