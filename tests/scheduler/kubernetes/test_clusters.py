"""The file of clusters, and clusters in a program: whatever is not right is told before anything is opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lifecycle.scheduler.kubernetes import Cluster, Kubernetes, _cluster
from lifecycle.scheduler.kubernetes._cluster import read_clusters, usual_cluster


def written(directory: Path, content: str) -> Path:
    """Write a file of clusters."""
    file = directory / "clusters.toml"
    file.write_text(content)
    return file


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several as well; those of the home directory, and whole ones, are what they are."""
    monkeypatch.setenv("HOME", "/there")
    content = '[a]\nkubeconfig = "one:~/two::/three"\nnamespace = "jobs"\ntimeout = 5\n[default]\nin_cluster = true\n'
    clusters = read_clusters(written(tmp_path, content))
    assert list(clusters["a"].files()) == [tmp_path / "one", Path("/there/two"), Path("/three")]
    assert (clusters["a"].namespace, clusters["a"].timeout, clusters["default"].in_cluster) == ("jobs", 5, True)
    assert read_clusters(written(tmp_path, "")) == {}


WRONG = {
    "no TOML": ("[a", "clusters.toml: "),
    "no table": ("a = 1", "clusters.toml: a: expected a table, [a], got 1"),
    "a list of tables": ("[[a]]", "clusters.toml: a: expected a table"),
    "an unknown key": ('[a]\nkubeconifg = "x"', "a: unknown key 'kubeconifg'; did you mean 'kubeconfig'?; expected"),
    "two forms": ('[a]\nin_cluster = true\nkubeconfig = "x"', "a: in_cluster uses the pod's own account"),
    "two other forms": ('[a]\nin_cluster = true\ncontext = "x"', "a: in_cluster uses the pod's own account"),
    "a file that is a number": ("[a]\nkubeconfig = 3", "a: kubeconfig must be a path, got 3"),
    "a file that is a list": ('[a]\nkubeconfig = ["x"]', "a: kubeconfig must be a path, got a list of 1"),
    "a file without a name": ('[a]\nkubeconfig = ""', "a: kubeconfig must not be empty"),
    "files without names": ('[a]\nkubeconfig = ":"', "a: kubeconfig must not be empty"),
    "a context that is a number": ("[a]\ncontext = 3", "a: context must be a string, got 3"),
    "a context without a name": ('[a]\ncontext = ""', "a: context must not be empty"),
    "a namespace that is a number": ("[a]\nnamespace = 3", "a: namespace must be a string, got 3"),
    "a namespace that is none": (
        '[a]\nnamespace = "../x"',
        "a: namespace: expected the name of a namespace, got '../x'",
    ),
    "no namespace": ('[a]\nnamespace = ""', "a: namespace: expected the name of a namespace, got ''"),
    "yes": ('[a]\nin_cluster = "yes"', "a: in_cluster must be"),
    "no time": ("[a]\ntimeout = 0", "a: timeout must"),
    "a time of words": ('[a]\ntimeout = "1m"', "a: timeout must"),
    "not a time": ("[a]\ntimeout = nan", "a: timeout must"),
}


@pytest.mark.parametrize(("content", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_with_its_place(content: str, said: str, tmp_path: Path) -> None:
    """The file, the cluster and the key; also by the host that is given the path."""
    file = written(tmp_path, content)
    with pytest.raises(ValueError, match="clusters") as raised:
        read_clusters(file)
    assert str(raised.value).startswith(f"{file}: ")
    assert said in str(raised.value)
    with pytest.raises(ValueError, match="clusters"):
        Kubernetes(file)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """It is not there, or not in UTF-8."""
    with pytest.raises(FileNotFoundError):
        read_clusters(tmp_path / "gone")
    (tmp_path / "clusters.toml").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"clusters\.toml: .*codec"):
        read_clusters(tmp_path / "clusters.toml")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"kubeconfig": b"x"}, "kubeconfig must be a path"),
        ({"context": b"x"}, "context must be a string"),
        ({"timeout": None}, "timeout must"),
        ({"timeout": float("inf")}, "timeout must"),
        ({"timeout": True}, "timeout must"),
    ],
)
def test_in_a_program_too(how: dict[str, Any], said: str) -> None:
    """As a TypeError or a ValueError."""
    with pytest.raises((TypeError, ValueError), match=said):
        Cluster(**how)


@pytest.mark.parametrize("clusters", [{"a": "x"}, {1: Cluster()}, {"a": {"context": "x"}}])
def test_a_host_takes_clusters_by_name(clusters: Any) -> None:
    """And nothing else."""
    with pytest.raises(TypeError, match="clusters must be Cluster objects by name"):
        Kubernetes(clusters)


def test_a_cluster_that_the_file_does_not_have_is_unknown() -> None:
    """With the names that it has; without a file any name may be a context."""
    kubernetes = Kubernetes({"gpu": Cluster(), "cpu": Cluster()})
    assert kubernetes.problem("gpu") is None
    assert kubernetes.problem("gpuu") == "unknown cluster 'gpuu'; did you mean 'gpu'?; expected 'cpu', 'gpu'"
    assert Kubernetes().problem("anything") is None


def test_the_usual_cluster_is_a_context_or_where_this_process_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pod it is the pod's own."""
    monkeypatch.setattr(_cluster, "SERVICE_ACCOUNT", tmp_path)
    assert usual_cluster("gpu") == Cluster(context="gpu")
    assert usual_cluster("default") == Cluster()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert usual_cluster("default") == Cluster()
    (tmp_path / "token").touch()
    assert usual_cluster("default") == Cluster(in_cluster=True)
    assert usual_cluster("gpu") == Cluster(context="gpu")


def test_a_path_may_be_an_object(tmp_path: Path) -> None:
    """Of pathlib; several are one text, as in the variable."""
    assert list(Cluster(kubeconfig=tmp_path / "a").files()) == [tmp_path / "a"]
    assert list(Cluster(kubeconfig=os.pathsep.join(["a", "b"])).files()) == [Path("a"), Path("b")]
