"""A wave is not over before what it touched is healthy; what is not healthy fails the run in its own words."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.world import World, config_map, deployment, job, namespace, wait_until


def component(space: str, **gate: Any) -> dict[str, Any]:
    return {"name": "app", "path": "app", "namespace": space, **({"gate": gate} if gate else {})}


def stack(world: World, space: str, **gate: Any) -> dict[str, Any]:
    return {"gitopsd.yaml": world.stack_file(component(space, **gate))}


def failed(world: World) -> dict[str, Any]:
    """The newest failed run."""
    run = next(r for r in world.history() if r["verdict"] == "failed")
    shown: dict[str, Any] = world.json("show", run["id"])
    return shown


def workload(kind: str, name: str, image: str, **spec: Any) -> dict[str, Any]:
    made = deployment(name, image)
    rest = {k: v for k, v in made["spec"].items() if k != "replicas" or kind != "DaemonSet"}
    return {**made, "kind": kind, "spec": {**rest, **spec}}


def pod(name: str, image: str) -> dict[str, Any]:
    template = deployment(name, image)["spec"]["template"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": template["spec"]}


def test_the_next_wave_waits_for_every_kind_of_workload(world: World, namespace: str) -> None:
    slow = "registry.example/app:slow"
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    stateful = workload(
        "StatefulSet",
        "s",
        slow,
        serviceName="s",
        volumeClaimTemplates=[claim],
        podManagementPolicy="Parallel",
        replicas=2,
    )
    first = [
        deployment("d", slow),
        stateful,
        workload("DaemonSet", "ds", slow),
        workload("ReplicaSet", "rs", slow),
        pod("p", slow),
        job("j"),
    ]
    world.push({**stack(world, namespace), "app/first.yaml": first, "app/last.yaml": config_map("last", {}, wave="1")})
    world.once()
    last = world.get("configmap", "last", "-n", namespace)
    pods = world.get("pods", "-n", namespace)
    assert last is not None
    assert pods is not None
    assert len(pods["items"]) == 7
    for each in pods["items"]:
        ready = {c["type"]: c["lastTransitionTime"] for c in each["status"]["conditions"]}["Ready"]
        assert ready <= last["metadata"]["creationTimestamp"], each["metadata"]["name"]
    seen = {o["unit"].split("/")[0]: o["health"] for o in world.json("show", "last")["observations"]}
    assert seen == dict.fromkeys(
        ("Deployment.apps", "StatefulSet.apps", "DaemonSet.apps", "ReplicaSet.apps", "Pod", "Job.batch"), "healthy"
    )


def test_a_custom_resource_is_waited_for_until_its_controller_is_done(world: World, namespace: str) -> None:
    plural = f"g{world.stack}"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.gate.example"},
        "spec": {
            "group": "gate.example",
            "scope": "Namespaced",
            "names": {"kind": plural.capitalize(), "plural": plural},
            "versions": [{**version, "schema": {"openAPIV3Schema": schema}}],
        },
    }

    def custom(size: int) -> dict[str, Any]:
        metadata = {"name": "one", "namespace": namespace}
        return {
            "apiVersion": "gate.example/v1",
            "kind": plural.capitalize(),
            "metadata": metadata,
            "spec": {"size": size},
        }

    def report(generation: int, ready: str) -> None:
        condition = {
            "type": "Ready",
            "status": ready,
            "reason": "Tested",
            "message": "so it is",
            "observedGeneration": generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        patch = json.dumps({"status": {"conditions": [condition]}})
        where = [plural, "one", "-n", namespace, "--subresource=status", "--type=merge"]
        world.kubectl("patch", *where, "-p", patch)

    world.push({**stack(world, namespace), "app/crd.yaml": definition, "app/one.yaml": custom(1)})
    world.once()
    report(1, "True")
    world.start()
    wait_until(lambda: world.json("status")["daemon"]["running"], "the daemon is up")
    second = world.push({"app/one.yaml": custom(2), "app/last.yaml": config_map("last", {}, wave="1")})
    unit = f"{plural.capitalize()}.gate.example/{namespace}/one"
    wait_until(
        lambda: unit in (world.status()["run"] or {"progress": ""})["progress"],
        "the gate waits for the custom resource",
    )
    report(2, "False")
    wait_until(
        lambda: [o for o in world.json("show", "last")["observations"] if (o["unit"], o["reason"]) == (unit, "Tested")],
        "the gate tells what the controller says",
    )
    assert world.data(namespace, "last") is None
    report(2, "True")
    world.wait_good(second)
    assert world.data(namespace, "last") == {}
    world.kubectl("delete", "crd", f"{plural}.gate.example", "--wait=false")


# ---------------------------------------------------------------- checks


class Site(ThreadingHTTPServer):
    """Answers with what `status` says of the number of the request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.asked = 0
        self.status: Callable[[int], int] = lambda _: 200
        self.url = f"http://127.0.0.1:{self.server_address[1]}/healthz"


class _Answer(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(self.server.status(self.server.asked))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads stderr."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_check_is_waited_for_and_fails_the_run_when_it_stays_bad(world: World, namespace: str, site: Site) -> None:
    site.status = lambda asked: 200 if asked > 4 else 503
    checks = [{"http": {"url": site.url, "status": 200}}]
    files = {"app/web.yaml": deployment("web"), "app/settings.yaml": config_map("settings", {"v": "1"})}
    world.push({**stack(world, namespace, checks=checks, timeout="60s"), **files})
    world.once()
    assert site.asked > 4
    assert world.phase() == "Synced"

    bad = {"http": {"url": f"{site.url}?bad", "status": 204}}
    world.push(
        {**stack(world, namespace, checks=[bad], timeout="2s"), "app/settings.yaml": config_map("settings", {"v": "2"})}
    )
    world.once(code=1)
    run = failed(world)
    assert f"check {site.url}?bad: not healthy after 2 s: status 200: 204 is wanted" in run["reason"]
    assert world.verdicts()[-1] == ("rollback", "good")
    assert world.data(namespace, "settings") == {"v": "1"}


# ---------------------------------------------------------------- failures and their words


def test_time_is_limited_and_stability_is_asked_for(world: World, namespace: str) -> None:
    """Two stacks at once, as both take their time."""
    first = stack(world, namespace, timeout="2s")["gitopsd.yaml"]
    second = world.stack_file({**component(namespace, timeout="40s", stableFor="12s"), "path": "side"})
    second = second.replace(f"name: {world.stack}\n", f"name: {world.stack}-b\n")
    files = {
        "app/web.yaml": deployment("never", "registry.example/app:never-ready"),
        "side/web.yaml": deployment("later", "registry.example/app:fails-later"),
    }
    world.push({"gitopsd.yaml": f"{first}---\n{second}", **files})
    world.start()
    wait_until(lambda: [v for v in world.verdicts() if v == ("rollback", "good")][1:], "both are rolled back")
    reasons = {r["stack"]: r["reason"] for r in world.history() if r["verdict"] == "failed"}
    assert "not healthy after 2 s" in reasons[world.stack]
    assert "CrashLoopBackOff" in reasons[f"{world.stack}-b"]
    wait_until(lambda: (world.get("deployments", "-n", namespace) or {"items": []})["items"] == [], "both are gone")


def test_a_sure_failure_ends_the_gate_in_its_own_words(world: World, namespace: str) -> None:
    """Long before the time-out of five minutes."""
    world.push({**stack(world, namespace), "app/web.yaml": deployment("web")})
    world.once()
    world.push({"app/web.yaml": deployment("web", "registry.example/app:crash-loop")})
    world.once(code=1)
    run = failed(world)
    assert run["failing"] == f"Deployment.apps/{namespace}/web"
    assert "CrashLoopBackOff" in run["reason"]
    assert "container app" in run["reason"]

    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}}
    world.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(quota))
    wait_until(
        lambda: (world.get("resourcequota", "few", "-n", namespace) or {})["status"]["used"]["pods"] == "1",
        "the quota is known and used up",
    )
    world.push({"app/web.yaml": deployment("web"), "app/more.yaml": deployment("more")})
    world.once(code=1)
    run = failed(world)
    assert run["failing"] == f"Deployment.apps/{namespace}/more"
    assert "exceeded quota: few" in run["reason"]
    wait_until(lambda: world.get("deployment", "more", "-n", namespace) is None, "it is undone")


def test_a_violation_of_pod_security_is_told_before_or_in_the_gate(world: World) -> None:
    space = f"secure-{world.stack}"
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    files = {"app/namespace.yaml": namespace(space, **label), "app/web.yaml": deployment("web")}
    world.push({**stack(world, space), **files})
    world.once(code=1)
    run = failed(world)
    assert "violates PodSecurity" in run["reason"]
    assert run["failing"] == f"Deployment.apps/{space}/web"
    wait_until(lambda: world.get("namespace", space) is None, "the namespace that the failed run made is gone")

    world.push({"app/web.yaml": config_map("settings", {})})
    world.once()
    mark = world.mark()
    world.push({"app/web.yaml": deployment("web", replicas=2)})
    world.once(code=1)
    assert "refused before the first effect" in failed(world)["reason"]
    assert "violates PodSecurity" in world.status()["message"]
    assert "app/web.yaml:1" in world.status()["message"]
    assert world.writes(mark) == []
    world.kubectl("delete", "namespace", space, "--wait=false")


# ---------------------------------------------------------------- what does not gate


def test_what_hangs_on_others_does_not_fail_a_gate_unless_it_is_asked_for(world: World, namespace: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "balanced"},
        "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]},
    }
    backend = {"service": {"name": "balanced", "port": {"number": 80}}}
    ingress = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "in"},
        "spec": {"defaultBackend": backend},
    }
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "auto"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 3},
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "budget"},
        "spec": {"minAvailable": 5, "selector": {"matchLabels": {"app": "web"}}},
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "unused"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    ignored = deployment("ignored", "registry.example/app:never-ready", gate="ignore")
    objects = [deployment("web"), service, ingress, autoscaler, budget, claim, ignored]
    world.push({**stack(world, namespace, timeout="3s"), "app/all.yaml": objects})
    world.once()
    assert world.phase() == "Synced"
    assert world.verdicts() == [("deploy", "good")]

    required = {**service, "metadata": {"name": "required", "annotations": {"gitopsd.io/gate": "required"}}}
    world.push({"app/required.yaml": required})
    world.once(code=1)
    assert failed(world)["failing"] == f"Service/{namespace}/required"
    assert "no address yet" in failed(world)["reason"]


def test_what_was_broken_before_fails_nothing_by_staying_so(world: World, namespace: str) -> None:
    crash = deployment("web", "registry.example/app:crash-loop")
    ignored = deployment("web", "registry.example/app:crash-loop", gate="ignore")
    world.push(
        {**stack(world, namespace), "app/web.yaml": ignored, "app/settings.yaml": config_map("settings", {"v": "1"})}
    )
    world.once()
    wait_until(
        lambda: "CrashLoopBackOff" in world.kubectl("get", "pods", "-n", namespace, "-o", "yaml"), "it crashes for long"
    )
    # The annotation goes: from now on the Deployment gates, degraded as it was before.
    same = world.push({"app/web.yaml": crash, "app/settings.yaml": config_map("settings", {"v": "2"})})
    world.once()
    world.wait_good(same)
    world.push({"app/web.yaml": deployment("web", "registry.example/app:pull-error")})
    world.once(code=1)
    assert "ImagePullBackOff" in failed(world)["reason"]
    assert world.verdicts()[-1] == ("rollback", "good")
    fix = world.push({"app/web.yaml": deployment("web", "registry.example/app:2")})
    world.once()
    world.wait_good(fix)
    assert world.phase() == "Synced"


def test_a_broken_early_wave_does_not_stand_in_the_way_of_its_own_fix(world: World, namespace: str) -> None:
    files = {"app/early.yaml": deployment("early", wave="-1"), "app/late.yaml": deployment("late", wave="1")}
    spec = world.stack_file(component(namespace), onFailure="hold")
    world.push({"gitopsd.yaml": spec, **files})
    world.once()
    world.push({"app/early.yaml": deployment("early", "registry.example/app:crash-loop", wave="-1")})
    world.once(code=1)
    assert world.phase() == "Failed"
    early = deployment("early", "registry.example/app:2", wave="-1")
    fix = world.push({"app/early.yaml": early, "app/late.yaml": deployment("late", "registry.example/app:2", wave="1")})
    world.once()
    world.wait_good(fix)
    assert world.phase() == "Synced"


@pytest.mark.parametrize("broken", ["crash-loop", "never-ready"])
def test_a_stateful_set_goes_back_although_its_controller_waits_for_the_broken_pod(
    world: World, namespace: str, broken: str
) -> None:
    """Kubernetes' controller never replaces a pod that is not ready under `OrderedReady`: not for a template that went
    back, and not for one that mends it."""

    def push(tag: str, code: int = 0) -> None:
        database = workload("StatefulSet", "db", f"registry.example/db:{tag}", serviceName="db", replicas=2)
        world.push({**stack(world, namespace, timeout="20s"), "app/db.yaml": database})
        world.once(code=code)

    push("1")
    push(broken, code=1)
    assert [(r["kind"], r["verdict"]) for r in world.history()[:2]] == [("rollback", "good"), ("deploy", "failed")]
    pods = world.get("pods", "-n", namespace)
    assert pods is not None
    assert [p["spec"]["containers"][0]["image"] for p in pods["items"]] == ["registry.example/db:1"] * 2
    push("2")
    assert world.history()[0]["verdict"] == "good"
