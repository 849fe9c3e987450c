"""The real sealed-secrets controller: it opens what we seal, and a team leaves it without a restart of anything."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox import Cluster
from tests.support.kubeseal import Kubeseal, secret
from tests.support.sealedcontroller import SealedController, sealed_controller
from tests.support.world import World, config_map, deployment, wait_until

DATA = {"text": b"correct horse", "empty": b"", "binary": bytes(range(256)), "newline": b"line\r\nline\n"}
SCOPES = ("strict", "namespace-wide", "cluster-wide")
DOCUMENTED = Path(__file__).parents[2] / "docs" / "secrets.md"


@pytest.fixture
def system(cluster: Cluster) -> Iterator[str]:
    """The controller's own namespace, whose deletion takes its keys along."""
    name = f"sealing-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def controller(sandbox_cluster: Cluster, system: str, tmp_path: Path) -> Iterator[SealedController]:
    with sealed_controller(sandbox_cluster, system, tmp_path) as started:
        yield started


@pytest.fixture
def kubeseal(controller: SealedController, tmp_path: Path) -> Kubeseal:
    """The team's own program with the controller's certificate."""
    controller.certificate(tmp_path / "controller.crt")
    return Kubeseal(tmp_path, "controller")


def data_of(live: Mapping[str, Any]) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (live.get("data") or {}).items()}


def owners(live: Mapping[str, Any] | None) -> list[str]:
    return [o["kind"] for o in (live or {})["metadata"].get("ownerReferences", [])]


def test_the_controller_opens_what_we_seal(
    controller: SealedController, kubeseal: Kubeseal, world: World, namespace: str
) -> None:
    """In all scopes, with type, labels and a filled template, to the byte."""
    labels = {"labels": {"app": "shop"}}
    for scope in SCOPES:
        manifest = secret(scope, namespace, DATA, type="example.org/db", metadata=labels)
        made = world.run(
            *("seal", "-", "--scope", scope, "--cert", str(kubeseal.certificate)), input=json.dumps(manifest)
        )
        assert made.returncode == 0, made.stderr
        sealed = yaml.safe_load(made.stdout)
        sealed["spec"]["template"]["data"] = {"url": "db://{{ .text }}@{{ .host }}", "host": "h.example"}
        world.kubectl("create", "-f", "-", input=json.dumps(sealed))
    for scope in SCOPES:
        live = wait_until(partial(world.get, "secret", scope, "-n", namespace), f"Secret {scope} is there")
        url = b"db://correct horse@h.example"
        assert data_of(live) == {**DATA, "url": url, "host": b"h.example"}
        assert (live["type"], live["metadata"]["labels"], owners(live)) == (
            "example.org/db",
            {"app": "shop"},
            ["SealedSecret"],
        )


# ---------------------------------------------------------------- leaving it


def mounting(name: str, of: str) -> dict[str, Any]:
    made = deployment(name)
    pod = made["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": "secret", "secret": {"secretName": of}}]
    pod["containers"][0]["volumeMounts"] = [{"name": "secret", "mountPath": "/secret"}]
    pod["containers"][0]["envFrom"] = [{"secretRef": {"name": of}}]
    return made


def pods(world: World, space: str) -> list[tuple[str, str, int]]:
    """(name, uid, restarts) of every pod."""
    found = json.loads(world.kubectl("get", "pods", "-n", space, "-o", "json"))["items"]
    return sorted(
        (p["metadata"]["name"], p["metadata"]["uid"], c["restartCount"])
        for p in found
        for c in p["status"].get("containerStatuses", [])
    )


class Team:
    """A repository of SealedSecrets by the real kubeseal that the controller has made Secrets of, and an application
    that mounts one. gitopsd does not know of them yet."""

    def __init__(self, world: World, space: str, kubeseal: Kubeseal) -> None:
        self.world, self.space = world, space
        self.files = {
            f"secrets/{scope}.yaml": kubeseal.seal(secret(scope, space, DATA), "--scope", scope).decode()
            for scope in SCOPES
        }
        world.push(self.files)
        for text in self.files.values():
            world.kubectl("create", "-f", "-", input=text)
        world.kubectl("apply", "-n", space, "-f", "-", input=json.dumps(mounting("shop", "strict")))
        self.before = {scope: wait_until(partial(self.live, scope), "its Secret") for scope in SCOPES}
        world.kubectl("rollout", "status", "-n", space, "deployment/shop", "--timeout=60s")
        self.pods = wait_until(lambda: pods(world, space), "its pod")

    def live(self, name: str) -> dict[str, Any] | None:
        return self.world.get("secret", name, "-n", self.space)

    def push(self, **component: Any) -> str:
        """Give the files to gitopsd as they are, with one object of its own beside them."""
        place = {"name": "secrets", "path": "secrets", "namespace": self.space, **component}
        own = config_map("beside", {"a": "1"})
        return self.world.push({"gitopsd.yaml": self.world.stack_file(place), **self.files, "secrets/beside.yaml": own})

    def import_keys(self, controller: SealedController) -> None:
        done = self.world.run("keys", "import", "-", input=controller.exported_keys())
        assert done.returncode == 0, done.stderr

    def assert_untouched(self) -> None:
        """The same objects with the same bytes, and the same pods that have not been restarted."""
        for scope, before in self.before.items():
            live = self.live(scope)
            assert live is not None, f"{scope} is gone"
            assert (live["metadata"]["uid"], data_of(live)) == (before["metadata"]["uid"], DATA)
        assert pods(self.world, self.space) == self.pods


@pytest.fixture
def team(world: World, namespace: str, kubeseal: Kubeseal) -> Team:
    return Team(world, namespace, kubeseal)


def test_without_adopt_the_secrets_stay_the_controllers(team: Team, controller: SealedController) -> None:
    world = team.world
    team.import_keys(controller)
    mark = world.mark()
    team.push()
    world.once(code=1)
    message = world.status()["message"]
    assert f"Secret/{team.space}/strict: exists already and belongs to sealed-secrets" in message
    assert "secrets/strict.yaml:" in message
    assert "add `adopt: [sealed-secrets]` to component secrets" in message
    assert world.writes(mark) == []
    team.assert_untouched()
    assert [owners(team.live(scope)) for scope in SCOPES] == [["SealedSecret"]] * 3
    assert world.data(team.space, "beside") is None
    assert world.holds() == {"blocked"}


def test_a_team_leaves_the_controller_by_the_steps_of_the_documentation(
    team: Team, controller: SealedController, kubeseal: Kubeseal
) -> None:
    """Every command of the section is run as it stands there, but for the names of this team's places."""
    world, space = team.world, team.space
    said = Documented(world, controller)
    said.run(1, "kubectl get secret -n kube-system", "gitopsd keys list")
    (key,) = world.json("keys", "list", "--repo", str(world.clone))["keys"]
    assert (key["state"], key["opens"]) == ("seals", len(SCOPES))

    assert said.component() == {"name": "secrets", "kubernetes": {"path": "secrets"}, "adopt": ["sealed-secrets"]}
    commit = team.push(adopt=said.component()["adopt"])
    (plan,) = said.run(2, "gitopsd plan")
    for scope in SCOPES:
        assert f"taken over from: sealed-secrets (SealedSecret {space}/{scope})" in plan
    (listed,) = said.run(3, "kubectl get secret -A")
    assert sorted(line.split()[1] for line in listed.splitlines() if line.startswith(space)) == sorted(SCOPES)
    world.once()
    world.wait_good(commit)
    team.assert_untouched()
    audited = [e for e in world.json("audit", "-n", "200")["entries"] if e["action"] == "adopt"]
    former = [b["metadata"]["ownerReferences"][0]["uid"] for b in team.before.values()]
    assert sorted(e["before"] for e in audited) == sorted(former)
    (listed,) = said.run(3, "kubectl get secret -A")
    assert space not in listed

    world.kubectl("create", "-f", "-", input=kubeseal.seal(secret("left-alone", space, DATA)).decode())
    wait_until(lambda: team.live("left-alone"), "one more Secret of the controller's")
    controller.stop()
    said.run(4, "kubectl delete sealedsecrets", "kubectl delete crd")
    wait_until(lambda: team.live("left-alone") is None, "the garbage collector takes what was not adopted")
    team.assert_untouched()
    assert [owners(team.live(scope)) for scope in SCOPES] == [[], [], []]

    mark = world.mark()
    done = team.push()
    world.once()
    world.wait_good(done)
    assert world.writes(mark) == [], "without `adopt` it asks for the same"
    world.kubectl("patch", "secret", "strict", "-n", space, "--type=merge", "-p", '{"data":{"text":"aGFja2Vk"}}')
    world.once()
    team.assert_untouched()


class Documented:
    """The steps of the section, run in a shell as a reader would."""

    def __init__(self, world: World, controller: SealedController) -> None:
        text = DOCUMENTED.read_text().partition("## Leaving the sealed-secrets controller\n")[2].partition("\n## ")[0]
        self._steps = re.split(r"(?m)^\d+\. ", text)
        self._places = {"kube-system": controller.namespace, "~/infra": str(world.clone)}
        self._world = world

    def component(self) -> dict[str, Any]:
        (block,) = re.findall(r"```yaml\n(.*?)```", self._steps[2], re.DOTALL)
        (found,) = yaml.safe_load(block)
        return dict(found)

    def run(self, step: int, *commands: str) -> list[str]:
        """Run the commands of a step that begin so; what they print. A `grep` without a line is no failure."""
        return [self._shell(self._only(step, command)) for command in commands]

    def _only(self, step: int, command: str) -> str:
        (line,) = [t.strip() for t in self._steps[step].splitlines() if t.strip().startswith(command)]
        for theirs, ours in self._places.items():
            line = line.replace(theirs, ours)
        return line

    def _shell(self, line: str) -> str:
        environment = {
            **self._world.environment,
            "KUBECONFIG": str(self._world.cluster.kubeconfig),
            "PATH": f"{Path(sys.executable).parent}:{self._world.environment['PATH']}",
        }
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self._world.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert not done.stderr or done.returncode in {0, 2}, f"{line}: {done.stderr}"
        return done.stdout
