"""The sandbox keeps what the other tests rely on."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sandbox import Cluster, SandboxError, launch
from sandbox.faults import FaultProxy

ROOT = Path(__file__).parent.parent.parent


def eventually(condition: Callable[[], bool], what: str, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.05)


def processes_of(directory: Path) -> list[int]:
    """All live processes whose command line names the directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command, state = (
                (entry / "cmdline").read_bytes(),
                (entry / "stat").read_text().rpartition(")")[2].split()[0],
            )
        except OSError:
            continue
        if str(directory).encode() in command and state != "Z":
            found.append(int(entry.name))
    return found


def template(labels: dict[str, str], *images: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    return {"metadata": {"labels": labels}, "spec": {"containers": containers, **spec}}


def deployment(name: str, *images: str, replicas: int = 1) -> str:
    labels = {"app": name}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template(labels, *images)}
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec})


def job(name: str, image: str) -> str:
    spec = {"backoffLimit": 0, "template": template({"job": name}, image, restartPolicy="Never")}
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})


def pod(name: str, **spec: Any) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


class Space:
    """A namespace of a cluster."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def apply(self, manifest: str) -> None:
        self.cluster.kubectl("-n", self.namespace, "apply", "-f", "-", input=manifest)

    def get(self, *arguments: str) -> dict[str, Any]:
        return self.cluster.get("-n", self.namespace, *arguments)

    def pods(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get("pods")["items"]
        return items

    def container(self, name: str) -> dict[str, Any]:
        """The status of one container of the only pod."""
        statuses = [status for each in self.pods() for status in each["status"].get("containerStatuses", [])]
        return next((status for status in statuses if status["name"] == name), {})

    def waiting(self, name: str = "c0") -> str:
        return str(self.container(name).get("state", {}).get("waiting", {}).get("reason", ""))


@pytest.fixture
def space(sandbox_cluster: Cluster, namespace: str) -> Space:
    return Space(sandbox_cluster, namespace)


def condition(of: dict[str, Any], kind: str) -> str:
    return next((each["status"] for each in of["status"].get("conditions", []) if each["type"] == kind), "")


def test_a_deployment_becomes_available_quickly_and_its_containers_look_real(space: Space) -> None:
    started = time.monotonic()
    space.apply(deployment("web", "registry.example:5000/web:1.0", "sidecar:2.0@sha256:" + "0" * 64, replicas=3))
    eventually(lambda: space.get("deployment/web")["status"].get("availableReplicas") == 3, "3 available replicas")
    assert time.monotonic() - started < 10, "seconds, not the time that images take"
    for each in space.pods():
        assert condition(each, "Ready") == "True"
        assert each["status"]["podIP"] != each["status"]["hostIP"] != ""
        assert [status["name"] for status in each["status"]["containerStatuses"]] == ["c0", "c1"]
        for status in each["status"]["containerStatuses"]:
            assert status["ready"]
            assert status["started"]
            assert status["restartCount"] == 0
            assert "running" in status["state"]


def test_a_bad_image_leaves_the_old_pod_ready(space: Space) -> None:
    space.apply(deployment("web", "web:1"))
    eventually(lambda: space.get("deployment/web")["status"].get("availableReplicas") == 1, "the first version")
    (old,) = space.pods()
    space.apply(deployment("web", "web:pull-error"))
    eventually(lambda: "ImagePullBackOff" in [_waiting_reason(each) for each in space.pods()], "a back-off")
    pods = {each["metadata"]["name"]: each for each in space.pods()}
    assert len(pods) == 2
    assert condition(pods.pop(old["metadata"]["name"]), "Ready") == "True"
    (new,) = pods.values()
    assert new["status"]["phase"] == "Pending"
    assert "web:pull-error" in new["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
    assert space.get("deployment/web")["status"]["availableReplicas"] == 1


def _waiting_reason(of: dict[str, Any]) -> str:
    statuses = of["status"].get("containerStatuses", [])
    return str(statuses[0]["state"].get("waiting", {}).get("reason")) if statuses else ""


def test_crash_loop(space: Space) -> None:
    space.apply(deployment("web", "web:crash-loop", "helper:1"))
    eventually(lambda: space.waiting() == "CrashLoopBackOff", "a crash loop")
    status = space.container("c0")
    assert status["restartCount"] >= 1
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert space.container("c1")["ready"], "the other container runs"
    count = status["restartCount"]
    eventually(lambda: space.container("c0")["restartCount"] > count, "another restart")


def test_never_ready(space: Space) -> None:
    space.apply(deployment("web", "web:never-ready"))
    eventually(lambda: "running" in space.container("c0").get("state", {}), "a running container")
    (only,) = space.pods()
    assert only["status"]["phase"] == "Running"
    assert condition(only, "Ready") == "False"


def test_slow_is_ready_after_ten_seconds(space: Space) -> None:
    space.apply(deployment("web", "web:slow", "helper:1"))
    eventually(lambda: bool(space.container("c0")), "a status")
    assert not space.container("c0")["ready"]
    started = time.monotonic()
    # A change of the pod in between must not begin the wait anew.
    eventually(lambda: time.monotonic() - started > 5, "half of the time")
    space.cluster.kubectl("-n", space.namespace, "label", "pods", "--all", "touched=yes")
    eventually(lambda: condition(space.pods()[0], "Ready") == "True", "ready", timeout=9)


def test_fails_later(space: Space) -> None:
    space.apply(deployment("web", "web:fails-later", "helper:1"))
    eventually(lambda: condition(space.pods()[0], "Ready") == "True" if space.pods() else False, "ready at first")
    eventually(lambda: space.waiting() == "CrashLoopBackOff", "a crash")
    (only,) = space.pods()
    assert condition(only, "Ready") == "False"
    assert space.container("c1")["ready"]


def test_jobs_complete_or_fail(space: Space) -> None:
    space.apply(job("good", "task:1"))
    space.apply(job("bad", "task:job-fails"))
    eventually(lambda: condition(space.get("job/good"), "Complete") == "True", "a completed Job")
    eventually(lambda: condition(space.get("job/bad"), "Failed") == "True", "a failed Job")
    phases = {each["metadata"]["labels"]["job"]: each["status"]["phase"] for each in space.pods()}
    assert phases == {"good": "Succeeded", "bad": "Failed"}
    assert space.get("job/good")["status"]["succeeded"] == 1


def test_a_deployment_does_not_replace_failed_pods_without_end(space: Space) -> None:
    space.apply(deployment("web", "web:job-fails"))
    eventually(lambda: space.waiting() == "CrashLoopBackOff", "a crash loop in place of a failed pod")
    assert len(space.pods()) == 1


def test_init_containers(space: Space) -> None:
    space.apply(
        pod(
            "good",
            initContainers=[
                {"name": "prepare", "image": "p:1"},
                {"name": "mesh", "image": "m:1", "restartPolicy": "Always"},
            ],
            containers=[{"name": "main", "image": "a:1"}],
        )
    )
    space.apply(
        pod(
            "bad",
            initContainers=[{"name": "prepare", "image": "p:1"}, {"name": "fetch", "image": "f:pull-error"}],
            containers=[{"name": "main", "image": "a:1"}],
        )
    )
    eventually(lambda: condition(space.get("pod/good"), "Ready") == "True", "a ready pod")
    states = [status["state"] for status in space.get("pod/good")["status"]["initContainerStatuses"]]
    assert states[0]["terminated"]["reason"] == "Completed"
    assert "running" in states[1]

    def init_states() -> list[dict[str, Any]]:
        return [each["state"] for each in space.get("pod/bad")["status"].get("initContainerStatuses", [])]

    eventually(lambda: "ImagePullBackOff" in json.dumps(init_states()), "the init container's back-off")
    bad = space.get("pod/bad")["status"]
    assert bad["phase"] == "Pending"
    assert bad["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"


def test_daemon_set_rolls_out_and_pods_are_deleted(space: Space) -> None:
    labels = {"app": "agent"}
    spec = {"selector": {"matchLabels": labels}, "template": template(labels, "agent:1")}
    space.apply(json.dumps({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": spec}))
    space.cluster.kubectl("-n", space.namespace, "rollout", "status", "daemonset/agent", "--timeout=30s")
    space.cluster.kubectl("-n", space.namespace, "delete", "daemonset/agent", "--timeout=30s")
    eventually(lambda: space.pods() == [], "no pod is left")


def test_stateful_set_with_volumes(space: Space) -> None:
    labels = {"app": "db"}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    spec = {
        "replicas": 2,
        "serviceName": "db",
        "selector": {"matchLabels": labels},
        "template": template(labels, "db:1"),
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
    }
    space.apply(json.dumps({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec}))
    space.cluster.kubectl("-n", space.namespace, "rollout", "status", "statefulset/db", "--timeout=30s")
    claims = space.get("pvc")["items"]
    assert [each["status"]["phase"] for each in claims] == ["Bound", "Bound"]
    volumes = {each["spec"]["volumeName"] for each in claims}
    space.cluster.kubectl(
        "-n", space.namespace, "delete", "statefulset/db", "pvc/data-db-0", "pvc/data-db-1", "--timeout=30s"
    )

    def left() -> set[str]:
        return volumes & {each["metadata"]["name"] for each in space.cluster.get("pv")["items"]}

    eventually(lambda: not left(), "the volumes are reclaimed")


def test_a_claim_without_consumer_waits(space: Space) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    manifest = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec}
    space.apply(json.dumps(manifest))

    def waits() -> bool:
        events = space.get("events")["items"]
        return any(each["reason"] == "WaitForFirstConsumer" for each in events)

    eventually(waits, "the controller says that it waits for a consumer")
    assert space.get("pvc/data")["status"]["phase"] == "Pending"


def test_tls_is_verified(sandbox_cluster: Cluster) -> None:
    kubeconfig = json.loads(sandbox_cluster.kubeconfig.read_text())
    assert "insecure" not in sandbox_cluster.kubeconfig.read_text()
    authority = kubeconfig["clusters"][0]["cluster"]["certificate-authority"]
    verified = ssl.create_default_context(cafile=authority)
    address = urlsplit(sandbox_cluster.server)
    assert address.hostname is not None
    with (
        socket.create_connection((address.hostname, address.port or 443), 10) as plain,
        verified.wrap_socket(plain, server_hostname=address.hostname) as wrapped,
    ):
        assert wrapped.version() == "TLSv1.3"
    with (
        socket.create_connection((address.hostname, address.port or 443), 10) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname=address.hostname)


def test_audit_log_tells_requests_in_order(sandbox_cluster: Cluster, namespace: str) -> None:
    before = sandbox_cluster.audit_offset()
    kubeconfig = sandbox_cluster.add_user()
    user = sandbox_cluster.user_of(kubeconfig)
    for name in ("one", "two"):
        sandbox_cluster.kubectl("-n", namespace, "create", "configmap", name)
    with pytest.raises(SandboxError, match="Forbidden"):
        sandbox_cluster.kubectl("-n", namespace, "get", "pods", kubeconfig=kubeconfig)
    created = sandbox_cluster.audit_events(before, user="admin", verbs={"create"})
    assert [event["objectRef"]["name"] for event in created if event["objectRef"]["namespace"] == namespace] == [
        "one",
        "two",
    ]
    (refused,) = [each for each in sandbox_cluster.audit_events(before, user=user) if "objectRef" in each]
    assert refused["responseStatus"]["code"] == 403
    assert refused["requestReceivedTimestamp"] <= refused["stageTimestamp"]
    users = {event["user"]["username"] for event in sandbox_cluster.audit_events()}
    assert not {each for each in users if each.startswith(("system:", "sandbox-"))}


def test_a_user_gets_the_rights_that_are_granted(sandbox_cluster: Cluster, namespace: str) -> None:
    kubeconfig = sandbox_cluster.add_user()
    user = sandbox_cluster.user_of(kubeconfig)
    sandbox_cluster.kubectl("-n", namespace, "create", "role", "r", "--verb=list", "--resource=configmaps")
    sandbox_cluster.kubectl("-n", namespace, "create", "rolebinding", "r", "--role=r", f"--user={user}")
    sandbox_cluster.kubectl("-n", namespace, "get", "configmaps", kubeconfig=kubeconfig)
    with pytest.raises(SandboxError, match="secrets"):
        sandbox_cluster.kubectl("-n", namespace, "get", "secrets", kubeconfig=kubeconfig)


def test_fault_proxy(sandbox_cluster: Cluster, namespace: str, faults: FaultProxy) -> None:
    through = faults.kubeconfig()

    def kubectl(*arguments: str, stdin: str | None = None) -> str:
        return sandbox_cluster.kubectl("-n", namespace, *arguments, kubeconfig=through, input=stdin)

    kubectl("apply", "-f", "-", stdin=deployment("web", "web:1"))
    assert "web" in kubectl("get", "deployment", "-o", "name")

    throttled = faults.answer(429, times=2, method="GET", path=r"/configmaps/one", retry_after=1)
    with pytest.raises(SandboxError, match="NotFound"):  # after the client's own retries
        kubectl("get", "configmap", "one")
    assert throttled.hits == 2
    assert [seen.status for seen in faults.seen if "/configmaps/one" in seen.path] == [429, 429, 404]

    faults.answer(503, times=None, method="POST", path="/configmaps")
    with pytest.raises(SandboxError, match="fault proxy"):
        kubectl("create", "configmap", "one")
    faults.clear()

    faults.cut(method="POST", path="/configmaps")
    with pytest.raises(SandboxError):
        kubectl("create", "configmap", "one")
    with pytest.raises(SandboxError, match="NotFound"):
        kubectl("get", "configmap", "one")

    faults.cut(method="POST", path="/configmaps", after=True)
    with pytest.raises(SandboxError):
        kubectl("create", "configmap", "one")
    assert "one" in kubectl("get", "configmap", "one"), "done, though the answer was lost"

    faults.delay(0.5, times=1, path="/configmaps/one")
    started = time.monotonic()
    kubectl("get", "configmap", "one")
    assert time.monotonic() - started >= 0.5


def test_fault_proxy_passes_watches(sandbox_cluster: Cluster, namespace: str, faults: FaultProxy) -> None:
    space = Space(sandbox_cluster, namespace)
    space.apply(deployment("web", "web:1"))
    # A watch underneath: it ends when the deployment is available.
    sandbox_cluster.kubectl(
        "-n",
        namespace,
        "wait",
        "--for=condition=Available",
        "deployment/web",
        "--timeout=30s",
        kubeconfig=faults.kubeconfig(),
    )
    assert any("watch=true" in seen.path for seen in faults.seen)


def test_components_can_be_broken_and_come_back(own_cluster: Cluster) -> None:
    api = own_cluster.component("kube-apiserver")
    server = own_cluster.server
    own_cluster.kubectl("create", "configmap", "kept")
    api.kill()
    assert api.pid is None
    with pytest.raises(OSError, match="refused"):
        own_cluster.client().call("GET", "/readyz", timeout=2)
    api.start()
    assert own_cluster.server == server
    assert "kept" in own_cluster.kubectl("get", "configmap", "kept")

    api.pause()
    with pytest.raises(OSError, match="timed out"):
        own_cluster.client().call("GET", "/readyz", timeout=1)
    api.resume()
    assert own_cluster.client().call("GET", "/readyz")[0] == 200

    own_cluster.component("etcd").kill()
    eventually(lambda: not own_cluster.healthy("kube-apiserver"), "an API server that misses etcd")
    own_cluster.component("etcd").start()

    # The others live through it: a Deployment still comes up.
    own_cluster.kubectl("apply", "-f", "-", input=deployment("web", "web:1"))
    own_cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


def test_a_component_that_dies_by_itself_is_started_again(own_cluster: Cluster) -> None:
    scheduler = own_cluster.component("kube-scheduler")
    before = scheduler.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    eventually(lambda: scheduler.pid not in (None, before) and own_cluster.healthy("kube-scheduler"), "a new scheduler")


def test_side_by_side(tmp_path: Path) -> None:
    def start(number: int) -> Cluster:
        return Cluster.start(tmp_path / str(number), audit=False)

    with ThreadPoolExecutor(2) as pool:
        clusters = list(pool.map(start, range(2)))
    try:
        assert len({each.server for each in clusters}) == 2
        clusters[0].kubectl("create", "configmap", "only-here")
        with pytest.raises(SandboxError, match="NotFound"):
            clusters[1].kubectl("get", "configmap", "only-here")
    finally:
        for each in clusters:
            each.down()
    eventually(lambda: not processes_of(tmp_path), "all processes are gone")


def sandbox_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sandbox", *arguments]


def test_command_line(tmp_path: Path) -> None:
    directory = tmp_path / "with a space"

    def run(*arguments: str) -> str:
        return subprocess.run(sandbox_command(*arguments), cwd=ROOT, capture_output=True, text=True, check=True).stdout

    try:
        kubeconfig = run("up", str(directory), "--nodes", "2").strip()
        assert kubeconfig == str(directory / "kubeconfig")
        assert run("up", str(directory)).strip() == kubeconfig, "a second `up` changes nothing"
        cluster = Cluster.attach(directory)
        assert len(cluster.get("nodes")["items"]) == 2
        cluster.kubectl("create", "configmap", "kept")
        (supervisor,) = [
            pid for pid in processes_of(directory) if b"supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(supervisor, signal.SIGKILL)
        eventually(lambda: not processes_of(directory), "the components end with their supervisor")
        run("up", str(directory))
        assert "kept" in cluster.kubectl("get", "configmap", "kept"), (
            "a crash loses nothing, and the kubeconfig stays valid"
        )
    finally:
        run("down", str(directory))
    assert not processes_of(directory)
    assert not (directory / "kubeconfig").exists()
    run("down", str(directory))
    assert Path(run("tool", "kubectl").strip()).is_file()


@pytest.mark.parametrize("moment", ["when it is up", "while it starts"])
def test_a_crash_of_the_caller_leaves_nothing_running(tmp_path: Path, moment: str) -> None:
    directory = tmp_path / "cluster"
    program = (
        "import sys, pathlib, time; from sandbox import Cluster\n"
        "Cluster.start(pathlib.Path(sys.argv[1])); print('up', flush=True); time.sleep(600)"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", program, str(directory)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        if moment == "when it is up":
            assert caller.stdout is not None
            assert caller.stdout.readline() == "up\n"
            assert launch.is_up(directory)
        else:
            eventually(
                lambda: any("kube-apiserver" in command for command in commands_of(directory)), "a first component"
            )
    finally:
        caller.kill()
        caller.wait()
        if caller.stdout:
            caller.stdout.close()
    eventually(lambda: not processes_of(directory), "everything ends with the caller")


def commands_of(directory: Path) -> list[str]:
    found = []
    for pid in processes_of(directory):
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode())
        except OSError:
            continue
    return found


def test_an_unknown_tool_or_component_is_named(sandbox_cluster: Cluster) -> None:
    with pytest.raises(SandboxError, match="known: etcd"):
        sandbox_cluster.component("kubelet")
    done = subprocess.run(sandbox_command("tool", "nonsense"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "kubectl" in done.stderr
