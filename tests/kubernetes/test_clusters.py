"""Our kubelet with the real API server and with its double: what becomes of Jobs and their pods, as both tell it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from .api import ApiError, Object
from .clusters import Cluster

pytestmark = pytest.mark.asyncio


def phase(pod: Object) -> str:
    """Return the phase of a pod."""
    return str(pod["status"]["phase"])


def runs(pod: Object) -> bool:
    """Return whether a pod runs."""
    return phase(pod) == "Running"


def ended(pod: Object) -> bool:
    """Return whether a pod has ended."""
    return phase(pod) in ("Succeeded", "Failed")


def state(pod: Object, number: int = 0) -> Object:
    """Return the state of one of its containers."""
    found: Object = (pod["status"].get("containerStatuses") or [{"state": {}}])[number]["state"]
    return found


def waits(reason: str) -> Callable[[Object], bool]:
    """Return a question whether a container waits for that reason."""
    return lambda pod: state(pod).get("waiting", {}).get("reason") == reason


def conditions(pod: Object) -> dict[str, tuple[str, str]]:
    """Return status and reason of each condition of a pod."""
    return {it["type"]: (it["status"], it.get("reason", "")) for it in pod["status"].get("conditions") or []}


async def test_a_job_made_by_kubectl_runs_a_command(cluster: Cluster) -> None:
    """It completes, and its log says what the command has written."""
    await cluster.kubectl("create", "job", "hello", "--image=python", "--", "sh", "-c", "echo one; echo two >&2")
    assert await cluster.job_ended("hello") == "Complete"
    assert await cluster.kubectl("logs", "-f", "job/hello") == "one\ntwo\n"
    pod = await cluster.pod_of("hello", ended)
    assert conditions(pod)["Ready"] == ("False", "PodCompleted")
    assert state(pod)["terminated"]["reason"] == "Completed"
    assert pod["status"]["containerStatuses"][0]["imageID"].startswith("docker.io/python@sha256:")
    assert {it["reason"] for it in await cluster.events_of("hello")} >= {"SuccessfulCreate", "Completed"}
    table = await cluster.kubectl("get", "pods")
    assert re.search(r"^hello-\w+ +0/1 +Completed +0 ", table, re.MULTILINE)


async def test_a_log_is_followed_while_it_is_written(cluster: Cluster) -> None:
    """Lines arrive while the container runs, and the end of the log is the end of the container."""
    script = "import sys\nprint('first', flush=True)\nimport signal\nsignal.sigwait([signal.SIGTERM])\nprint('last')"
    await cluster.job(
        "talks", "python", sys.executable, "-S", "-c", f"import signal\nsignal.pthread_sigmask(0, [15])\n{script}"
    )
    pod = await cluster.pod_of("talks", runs)
    reader = await asyncio.create_subprocess_exec(
        "kubectl", "--kubeconfig", str(cluster.kubeconfig), "logs", "-f", "job/talks", stdout=asyncio.subprocess.PIPE
    )
    assert reader.stdout is not None
    assert await reader.stdout.readline() == b"first\n"
    await cluster.api.delete(f"{cluster.core}/pods/{pod['metadata']['name']}")
    assert await reader.stdout.read() == b"last\n"
    assert await reader.wait() == 0


async def test_a_log_since_a_time_and_with_times(cluster: Cluster) -> None:
    """Times are nine digits, and a question from a time on begins with the second of it."""
    await cluster.job("lines", "script/lines-3")
    assert await cluster.job_ended("lines") == "Complete"
    lines = (await cluster.kubectl("logs", "job/lines", "--timestamps")).splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["line 1", "line 2", "line 3"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z line \d", line) for line in lines)
    moment = lines[-1].partition(" ")[0]
    assert (
        await cluster.kubectl("logs", "job/lines", f"--since-time={moment}", "--timestamps") == "\n".join(lines) + "\n"
    )
    assert await cluster.kubectl("logs", "job/lines", "--since-time=2999-01-01T00:00:00Z") == ""
    assert await cluster.kubectl("logs", "job/lines", "--tail=1") == "line 3\n"
    assert await cluster.kubectl("logs", "job/lines", "--limit-bytes=8") == "line 1\nl"


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [("exit 0", 0, "Completed"), ("exit 3", 3, "Error"), ("kill -9 $$", 137, "Error"), ("kill -15 $$", 143, "Error")],
)
async def test_how_a_process_ends(cluster: Cluster, command: str, code: int, reason: str) -> None:
    """Its code is told, 128 and the number for a signal."""
    await cluster.job("ends", "sh", "sh", "-c", command)
    pod = await cluster.pod_of("ends", ended)
    assert phase(pod) == ("Failed" if code else "Succeeded")
    assert (state(pod)["terminated"]["exitCode"], state(pod)["terminated"]["reason"]) == (code, reason)
    assert await cluster.job_ended("ends") == ("Failed" if code else "Complete")


@pytest.mark.parametrize(
    ("image", "code", "reason"),
    [
        ("script/ok", 0, "Completed"),
        ("script/exit-3", 3, "Error"),
        ("script/signal-9", 137, "Error"),
        ("script/oom", 137, "OOMKilled"),
        ("script/sleep-0.1+exit-4", 4, "Error"),
        ("oom/python", 137, "OOMKilled"),
    ],
)
async def test_how_a_container_ends_that_its_image_describes(
    cluster: Cluster, image: str, code: int, reason: str
) -> None:
    """The same is told of a script as of a process."""
    await cluster.job("ends", image)
    pod = await cluster.pod_of("ends", ended)
    assert (state(pod)["terminated"]["exitCode"], state(pod)["terminated"]["reason"]) == (code, reason)


async def test_last_words(cluster: Cluster) -> None:
    """They come from the file, else from the log of a failure where the pod asks for that."""
    await cluster.job("file", "sh", "sh", "-c", "printf word > /dev/termination-log")
    fallback = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    await cluster.job("log", "sh", "sh", "-c", "echo from the log; exit 1", container=fallback)
    elsewhere = {"terminationMessagePath": "/run/out/said"}
    await cluster.job(
        "else", "sh", "sh", "-c", "head -c 5000 /dev/zero | tr '\\0' x > /run/out/said", container=elsewhere
    )
    await cluster.job("script", "script/say-bye+exit-1")
    said = {
        name: state(await cluster.pod_of(name, ended))["terminated"].get("message")
        for name in ("file", "log", "else", "script")
    }
    assert said == {"file": "word", "log": "from the log\n", "else": "x" * 4096, "script": "bye"}


async def test_environment_and_volumes(cluster: Cluster) -> None:
    """A container has what its pod refers to, and sees its mounts under the paths that the pod gives them."""
    await cluster.api.post(f"{cluster.core}/secrets", {"metadata": {"name": "s"}, "stringData": {"key": "secret"}})
    await cluster.api.post(f"{cluster.core}/configmaps", {"metadata": {"name": "c"}, "data": {"a.txt": "config"}})
    env = [
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
        {"name": "CONFIG", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "a.txt"}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "BOTH", "value": "$(SECRET)-$(CONFIG)-$$(POD)-$(NONE)"},
        {"name": "INSIDE", "value": "/data/mine"},
    ]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("data", "config", "secret")]
    volumes = [
        {"name": "data", "emptyDir": {}},
        {"name": "config", "configMap": {"name": "c"}},
        {"name": "secret", "secret": {"secretName": "s"}},
    ]
    writes = [
        {"name": "writes", "image": "sh", "command": ["sh", "-c", "echo early > /data/early"], "volumeMounts": mounts}
    ]
    line = 'echo "$SECRET $CONFIG $BOTH $(basename $INSIDE)"; cat /data/early /config/a.txt /secret/key; echo " $POD"'
    container = {"env": env, "volumeMounts": mounts, "workingDir": "/data"}
    await cluster.job("reads", "sh", "sh", "-c", line, container=container, volumes=volumes, initContainers=writes)
    assert await cluster.job_ended("reads") == "Complete"
    pod = await cluster.pod_of("reads", ended)
    expected = f"secret config secret-config-$(POD)-$(NONE) mine\nearly\nconfigsecret {pod['metadata']['name']}\n"
    assert await cluster.kubectl("logs", "job/reads") == expected


async def test_a_secret_that_is_missing(cluster: Cluster) -> None:
    """The container waits for it, and starts when it is there."""
    env = [{"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "late", "key": "key"}}}]
    await cluster.job("waits", "sh", "sh", "-c", "echo $SECRET", container={"env": env})
    pod = await cluster.pod_of("waits", waits("CreateContainerConfigError"))
    assert state(pod)["waiting"]["message"] == 'secret "late" not found'
    await cluster.api.post(f"{cluster.core}/secrets", {"metadata": {"name": "late"}, "stringData": {"key": "here"}})
    assert await cluster.job_ended("waits") == "Complete"
    assert await cluster.kubectl("logs", "job/waits") == "here\n"


async def test_images_that_cannot_be_had(cluster: Cluster) -> None:
    """A pod waits for ever, and says in turns that it has failed and that it will try again."""
    await cluster.job("pull", "never-pulled/app")
    for reason in ("ErrImagePull", "ImagePullBackOff", "ErrImagePull"):
        pod = await cluster.pod_of("pull", waits(reason))
        assert phase(pod) == "Pending"
    reasons = {it["reason"] for it in await cluster.events_of(pod["metadata"]["name"])}
    assert reasons >= {"Pulling", "Failed", "BackOff"}
    await cluster.job("invalid", "invalid image!")
    pod = await cluster.pod_of("invalid", waits("InvalidImageName"))
    assert "InvalidImageName" in await cluster.kubectl("get", "pods")
    await cluster.kubectl("delete", "job", "pull", "invalid")
    await cluster.pod_gone(pod["metadata"]["name"])


async def test_a_command_that_is_not_there(cluster: Cluster) -> None:
    """The container has failed before it has begun, at a time that nobody believes."""
    await cluster.job("none", "python", "no-such-command")
    terminated = state(await cluster.pod_of("none", ended))["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (128, "StartError")
    assert terminated["startedAt"] == "1970-01-01T00:00:00Z"


async def test_a_container_is_started_again(cluster: Cluster) -> None:
    """With OnFailure its pod stays, and the log of the time before can be had."""
    line = "echo $(ls /data); touch /data/$(ls /data | wc -l); test $(ls /data | wc -l) = 3"
    volumes = [{"name": "data", "emptyDir": {}}]
    container = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    template: Object = {"restartPolicy": "OnFailure", "volumes": volumes}
    await cluster.job("again", "sh", "sh", "-c", line, container=container, **template)
    await cluster.api.patch(f"{cluster.batch}/jobs/again", {"spec": {"backoffLimit": 6}})
    pod = await cluster.pod_of("again", ended)
    status = pod["status"]["containerStatuses"][0]
    assert status["restartCount"] == 2
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert await cluster.kubectl("logs", "job/again") == "0 1\n"
    assert await cluster.kubectl("logs", "--previous", "job/again") == "0\n"


async def test_the_deadline_of_a_pod(cluster: Cluster) -> None:
    """Its containers are ended, and it has failed for that reason."""
    await cluster.job("late", "sleep", "sleep", "1000", activeDeadlineSeconds=1, terminationGracePeriodSeconds=1)
    pod = await cluster.pod_of("late", ended)
    assert (phase(pod), pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")
    assert state(pod)["terminated"]["exitCode"] == 143


async def test_a_pod_is_deleted_with_grace(cluster: Cluster) -> None:
    """Its first process may end in order; one that does not listen is killed when the grace is over."""
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    await cluster.job("deaf", "python", sys.executable, "-c", deaf, terminationGracePeriodSeconds=1)
    polite = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    await cluster.job("polite", "sh", "sh", "-c", polite, terminationGracePeriodSeconds=60)
    for name in ("deaf", "polite"):
        pod = await cluster.pod_of(name, runs)
        await cluster.kubectl("logs", "job/" + name)
        seen = cluster.kubelet.pods[cluster.namespace, pod["metadata"]["name"]]
        while not seen.logs["main"].tail(1, 99):
            await asyncio.sleep(0.01)
        await cluster.kubectl("delete", "job", name, "--wait=false")
        await cluster.pod_gone(pod["metadata"]["name"])
        code = seen.containers[0].terminated["exitCode"]  # type: ignore[index]
        assert code == (137 if name == "deaf" else 0)
    assert seen.logs["main"].tail(2, 99) == "up\nbye\n"


async def test_nothing_of_a_container_outlives_its_first_process(cluster: Cluster) -> None:
    """Also what it has started in another session ends."""
    line = "setsid sleep 1000 & echo $!; sleep 1000 & echo $!"
    await cluster.job("leaves", "bash", "bash", "-c", line)
    assert await cluster.job_ended("leaves") == "Complete"
    pids = (await cluster.kubectl("logs", "job/leaves")).split()
    assert len(pids) == 2
    with contextlib.suppress(psutil.NoSuchProcess):  # where nobody reaps orphans, they stay as zombies
        assert {psutil.Process(int(pid)).status() for pid in pids} <= {psutil.STATUS_ZOMBIE}


async def test_eviction_by_the_kubelet(cluster: Cluster) -> None:
    """The pod has failed, and says why in three places."""
    await cluster.job("evicted", "sleep", "sleep", "1000")
    name = (await cluster.pod_of("evicted", runs))["metadata"]["name"]
    cluster.kubelet.evict(cluster.namespace, name)
    pod = await cluster.pod_of("evicted", ended)
    assert (phase(pod), pod["status"]["reason"]) == ("Failed", "Evicted")
    assert pod["status"]["message"].startswith("The node was low on resource: memory.")
    assert conditions(pod)["DisruptionTarget"] == ("True", "TerminationByKubelet")
    assert state(pod)["terminated"]["exitCode"] in (137, 143)


@pytest.mark.parametrize(
    ("method", "reason"), [("evict_by_api", "EvictionByEvictionAPI"), ("preempt", "PreemptionByScheduler")]
)
async def test_pods_that_others_remove(cluster: Cluster, method: str, reason: str) -> None:
    """They are marked, and deleted with grace; a job that may try again makes another."""
    await cluster.job("removed", "script/sleep-1000", tries=2)
    name = (await cluster.pod_of("removed", runs))["metadata"]["name"]
    await getattr(cluster.kubelet, method)(cluster.namespace, name)
    await cluster.pod_gone(name)
    seen = await cluster.pod_of("removed", runs)
    assert seen["metadata"]["name"] != name


async def test_a_node_is_lost_and_returns(cluster: Cluster) -> None:
    """Its pods stay, marked and deleted, while nobody confirms it; then it ends them."""
    await cluster.job("lost", "sleep", "sleep", "1000", terminationGracePeriodSeconds=1)
    name = (await cluster.pod_of("lost", runs))["metadata"]["name"]
    await cluster.kubelet.lose_node(node_lost=True)
    pod = await cluster.api.get(f"{cluster.core}/pods/{name}")
    assert (phase(pod), pod["status"]["reason"]) == ("Running", "NodeLost")
    assert pod["metadata"]["deletionTimestamp"]
    assert conditions(pod)["DisruptionTarget"] == ("True", "DeletionByTaintManager")
    with pytest.raises(ApiError) as error:
        await cluster.api.get(f"{cluster.core}/pods/{name}/log")
    assert error.value.status == 500  # the server has no answer from the node, and says so
    await cluster.kubelet.return_node()
    await cluster.pod_gone(name)
    assert runs(await cluster.pod_of("lost", runs))


async def test_a_node_is_forgotten(cluster: Cluster) -> None:
    """Its pods are removed by force, while their processes go on."""
    await cluster.job("lost", "sleep", "sleep", "1000")
    name = (await cluster.pod_of("lost", runs))["metadata"]["name"]
    await cluster.kubelet.forget_node()
    await cluster.pod_gone(name)
    assert not cluster.kubelet.pods[cluster.namespace, name].over


async def test_a_node_shuts_down(cluster: Cluster) -> None:
    """Its pods have failed, and so do those that come later."""
    await cluster.job("off", "sleep", "sleep", "1000")
    await cluster.pod_of("off", runs)
    await cluster.kubelet.shutdown_node()
    pod = await cluster.pod_of("off", ended)
    assert pod["status"]["reason"] == "Terminated"
    assert conditions(pod)["DisruptionTarget"] == ("True", "TerminationByKubelet")
    await cluster.job("late", "script/ok")
    assert (await cluster.pod_of("late", ended))["status"]["reason"] == "NodeShutdown"


async def test_a_pod_that_does_not_fit(cluster: Cluster) -> None:
    """It stays without a node, and says why."""
    await cluster.job("picky", "script/ok", nodeSelector={"disk": "fast"})
    pod = await cluster.pod_of("picky", lambda pod: "PodScheduled" in conditions(pod))
    assert conditions(pod)["PodScheduled"] == ("False", "Unschedulable")
    assert not pod["spec"].get("nodeName")


async def test_a_quota_refuses_pods(cluster: Cluster) -> None:
    """The job says so in an event, and completes when there is room."""
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    await cluster.api.post(f"{cluster.core}/resourcequotas", quota)
    path = f"{cluster.core}/resourcequotas"
    async for it in cluster.see(path):
        if it is not None and it.get("status", {}).get("hard"):
            break
    await cluster.job("refused", "script/ok")
    async for event in cluster.see(f"{cluster.core}/events", "involvedObject.name=refused"):
        if event is not None and event["reason"] == "FailedCreate":
            assert "exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0" in event["message"]
            break
    await cluster.api.delete(f"{path}/none")
    assert await cluster.job_ended("refused") == "Complete"


async def test_foreground_deletion(cluster: Cluster) -> None:
    """A job stays until the garbage collector has removed its pods, and they until their containers have ended."""
    await cluster.job("owner", "script/deaf+sleep-1000", terminationGracePeriodSeconds=1)
    name = (await cluster.pod_of("owner", runs))["metadata"]["name"]
    await cluster.api.delete(f"{cluster.batch}/jobs/owner", propagationPolicy="Foreground")
    job = await cluster.api.get(f"{cluster.batch}/jobs/owner")
    assert job["metadata"]["finalizers"] == ["foregroundDeletion"]
    await cluster.pod_gone(name)
    async for it in cluster.see(f"{cluster.batch}/jobs", "metadata.name=owner"):
        if it is None:
            break


async def test_a_finished_job_is_removed_after_its_time(cluster: Cluster) -> None:
    """The controller for that is on."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "script/ok"}]}}
    spec = {"ttlSecondsAfterFinished": 0, "template": template}
    await cluster.api.post(f"{cluster.batch}/jobs", {"metadata": {"name": "brief"}, "spec": spec})
    async for it in cluster.see(f"{cluster.batch}/jobs", "metadata.name=brief"):
        if it is None:
            break


async def test_many_pods_cost_few_requests(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that takes no time costs a binding and a status; one that does, the status of running besides."""
    asked: list[str] = []
    call = cluster.kubelet.api.call

    async def counted(method: str, path: str, *args: Any, **more: Any) -> Any:
        if "/pods/" in path:
            asked.append(method)
        return await call(method, path, *args, **more)

    monkeypatch.setattr(cluster.kubelet.api, "call", counted)
    await asyncio.gather(*[cluster.job(f"quick-{number}", "script/lines-3") for number in range(30)])
    await asyncio.gather(*[cluster.job(f"slow-{number}", "script/sleep-0.1+exit-1") for number in range(10)])
    ends = [await cluster.job_ended(f"quick-{number}") for number in range(30)]
    ends += [await cluster.job_ended(f"slow-{number}") for number in range(10)]
    assert ends == ["Complete"] * 30 + ["Failed"] * 10
    assert (asked.count("POST"), asked.count("PATCH"), asked.count("DELETE")) == (40, 30 + 2 * 10, 0)


async def test_logs_that_stop_and_break(cluster: Cluster) -> None:
    """A log that is paused says nothing; one that breaks ends in the middle of a line, as if that were the end."""
    line = "echo first line; read -t 1000 < /data/go; echo second line; sleep 1000"
    volumes = [{"name": "data", "emptyDir": {}}]
    container = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    await cluster.job("talks", "bash", "bash", "-c", f"mkfifo /data/go; {line}", container=container, volumes=volumes)
    pod = await cluster.pod_of("talks", runs)
    name = pod["metadata"]["name"]
    cluster.kubelet.break_logs(cluster.namespace, name)
    assert await cluster.api.get(f"{cluster.core}/pods/{name}/log", follow="true") == "first"
    cluster.kubelet.break_logs(cluster.namespace, name, lines=1)
    assert (await cluster.api.get(f"{cluster.core}/pods/{name}/log")).startswith("first line\n")
    cluster.kubelet.pause_logs(cluster.namespace, name)
    asking = asyncio.create_task(cluster.api.get(f"{cluster.core}/pods/{name}/log"))
    assert not (await asyncio.wait([asking], timeout=0.3))[0]
    cluster.kubelet.resume_logs()
    assert await asking == "first line\n"


async def test_the_server_is_killed_while_a_pod_runs(own_cluster: Cluster) -> None:
    """The pod goes on, and what has become of it is told when the server is back."""
    line = "until test -e /data/go; do sleep 0.02; done; echo went on; exit 5"
    volumes = [{"name": "data", "emptyDir": {}}]
    container = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    await own_cluster.job("survives", "sh", "sh", "-c", line, container=container, volumes=volumes)
    name = (await own_cluster.pod_of("survives", runs))["metadata"]["name"]
    pod = own_cluster.kubelet.pods[own_cluster.namespace, name]
    await own_cluster.servers.stop_api()
    (own_cluster.kubelet.folder / "pods" / pod.uid / "volumes" / "data" / "go").touch()
    while not pod.logs["main"].ended:
        await asyncio.sleep(0.01)
    await own_cluster.servers.start_api()
    seen = await own_cluster.pod_of("survives", ended)
    assert state(seen)["terminated"]["exitCode"] == 5
    assert await own_cluster.job_ended("survives") == "Failed"
    assert json.loads(await own_cluster.kubectl("get", "--raw", "/version"))["major"] == "1"
