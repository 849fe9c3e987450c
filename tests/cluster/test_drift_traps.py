"""What server-side apply and managedFields hide, or make look like something else: each is noticed, mended or left."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread
from typing import Any

import pytest

from sandbox import SandboxError
from tests.support.moments import GOOD
from tests.support.world import World, config_map, deployment, job, wait_until

PART_OF = "applyset.kubernetes.io/part-of"
RBAC = "rbac.authorization.k8s.io/v1"

Body = dict[str, Any]


@pytest.fixture
def at_rest(world: World, namespace: str) -> Callable[..., World]:
    """Deliver objects, and leave a daemon that watches them. `before` is what somebody else makes before it."""

    def deliver(*objects: Body, before: Body | None = None) -> World:
        if before is not None:
            world.kubectl("create", "-f", "-", input=json.dumps(before))
        world.push({**_stack(world, namespace), "app/all.yaml": list(objects)})
        world.start()
        world.wait_phase("Synced")
        return world

    return deliver


def _stack(world: World, space: str, **spec: Any) -> dict[str, Any]:
    return {"gitopsd.yaml": world.stack_file({"name": "app", "path": "app", "namespace": space}, **spec)}


def _of(version: str, kind: str, name: str, **rest: Any) -> Body:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **rest}


def _patch(world: World, space: str, what: str, change: Any, *more: str) -> None:
    sort = "json" if isinstance(change, list) else "merge"
    world.kubectl("patch", *what.split("/"), "-n", space, f"--type={sort}", "-p", json.dumps(change), *more)


def _live(world: World, space: str, what: str) -> Body:
    found = world.get(*what.split("/"), "-n", space)
    assert found is not None, f"there is no {what}"
    return found


def _told(world: World, name: str, what: str = "attention") -> Body | None:
    """What status says of an object, if it has anything to say."""
    return next((entry for entry in world.status()[what] if entry["unit"].endswith(f"/{name}")), None)


def _rested(world: World) -> bool:
    """No request for three seconds."""
    mark = world.mark()
    stop = Event()
    stop.wait(3)
    return world.requests(mark) == []


# ---------------------------------------------------------------- writes that leave little trace


def test_a_write_under_our_own_name_within_the_second_of_our_own_is_taken_back(
    at_rest: Callable[..., World], namespace: str
) -> None:
    world = at_rest(*(config_map(f"map-{n}", {"v": "git"}) for n in range(12)))

    def stamp(name: str) -> list[str]:
        entries = json.loads(
            world.kubectl("get", "configmap", name, "-n", namespace, "-o", "json", "--show-managed-fields")
        )["metadata"]["managedFields"]
        return [e["time"] for e in entries if e["manager"] == "gitopsd"]

    def as_in_git(name: str) -> bool:
        return world.data(namespace, name) == {"v": "git"}

    unseen = 0
    for number in range(12):
        name = f"map-{number}"
        _patch(world, namespace, f"configmap/{name}", {"data": {"v": "by hand"}})
        wait_until(partial(as_in_git, name), f"{name} is healed")
        ours = stamp(name)
        theirs = config_map(name, {"v": "stolen"})
        live = _live(world, namespace, f"configmap/{name}")["metadata"]
        theirs["metadata"].update({key: live[key] for key in ("labels", "annotations")})
        world.kubectl(
            "apply", "--server-side", "--field-manager=gitopsd", "-n", namespace, "-f", "-", input=json.dumps(theirs)
        )
        unseen += stamp(name) == ours
        wait_until(partial(as_in_git, name), f"{name} is taken back")
        if unseen >= 2:
            break
    assert unseen, "no write came within the second of ours"


def test_lists_that_somebody_puts_in_another_order_are_put_back(at_rest: Callable[..., World], namespace: str) -> None:
    rules = [{"apiGroups": [""], "resources": [what], "verbs": ["get"]} for what in ("pods", "services", "secrets")]
    web = deployment("web", GOOD)
    environment = [{"name": name, "value": f"$({name[0]})"} for name in ("A", "B", "C")]
    web["spec"]["template"]["spec"]["containers"][0].update(env=environment, args=["--one", "--two"])
    world = at_rest(_of(RBAC, "Role", "reader", rules=rules), web)
    container = "/spec/template/spec/containers/0"
    _patch(world, namespace, "role/reader", [{"op": "replace", "path": "/rules", "value": rules[::-1]}])
    _patch(
        world,
        namespace,
        "deployment/web",
        [
            {"op": "replace", "path": f"{container}/env", "value": environment[::-1]},
            {"op": "replace", "path": f"{container}/args", "value": ["--two", "--one"]},
        ],
    )

    def as_in_git() -> bool:
        found = _live(world, namespace, "deployment/web")["spec"]["template"]["spec"]["containers"][0]
        there = (_live(world, namespace, "role/reader")["rules"], found["env"], found["args"])
        return there == (rules, environment, ["--one", "--two"])

    wait_until(as_in_git, "the order of git is back")
    world.wait_phase("Synced")


def test_what_somebody_removes_or_makes_anew_is_as_in_git_again(at_rest: Callable[..., World], namespace: str) -> None:
    """Who removes a field leaves nobody's name; who makes an object anew leaves none of our marks."""
    web = deployment("web", GOOD, 2)
    container = web["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    world = at_rest(web, config_map("cut", {"v": "git", "w": "git"}), config_map("anew", {"v": "git"}))
    _patch(world, namespace, "configmap/cut", [{"op": "remove", "path": "/data/w"}])
    _patch(world, namespace, "deployment/web", [{"op": "remove", "path": "/spec/template/spec/containers/0/env/1"}])
    theirs = config_map("anew", {"v": "theirs"})
    world.kubectl("replace", "--force", "-n", namespace, "-f", "-", input=json.dumps(theirs))

    def as_in_git() -> bool:
        live = _live(world, namespace, "deployment/web")["spec"]["template"]["spec"]["containers"][0]
        marks = _live(world, namespace, "configmap/anew")["metadata"].get("labels", {})
        maps = {name: world.data(namespace, name) for name in ("cut", "anew")}
        return (
            maps == {"cut": {"v": "git", "w": "git"}, "anew": {"v": "git"}}
            and live["env"] == container["env"]
            and PART_OF in marks
        )

    wait_until(as_in_git, "all is as in git")
    world.wait_phase("Synced")


def test_what_is_written_through_scale_is_healed_and_a_status_is_not_ours(
    at_rest: Callable[..., World], namespace: str
) -> None:
    world = at_rest(deployment("web", GOOD, 1), _of("v1", "ResourceQuota", "few", spec={"hard": {"pods": "50"}}))
    world.kubectl("scale", "deployment", "web", "-n", namespace, "--replicas=3")
    wait_until(lambda: _live(world, namespace, "deployment/web")["spec"]["replicas"] == 1, "scaled back")
    wait_until(lambda: _rested(world), "at rest")
    mark = world.mark()
    condition = {"type": "Theirs", "status": "True", "reason": "x", "message": "x"}
    for number in range(4):  # two of one manager within a second would leave no trace, and cost a look
        writer = ("--subresource=status", f"--field-manager=meter-{number}")
        _patch(world, namespace, "resourcequota/few", {"status": {"hard": {"pods": str(number)}}}, *writer)
        _patch(world, namespace, "deployment/web", {"status": {"conditions": [condition]}}, *writer)
    wait_until(lambda: _rested(world), "at rest")
    assert world.writes(mark) == []
    looks = [e for e in world.requests(mark) if "dryRun=" in e["requestURI"]]
    assert looks == [], "a status tells nothing of our fields"


# ---------------------------------------------------------------- repairs that a plain apply cannot make


def test_a_port_that_was_renumbered_by_hand_is_no_dead_end(at_rest: Callable[..., World], namespace: str) -> None:
    """The port is another element of the list: applying ours again adds a second one of the same name, for ever."""
    ports = [{"name": "db", "port": 5432}, {"name": "metrics", "port": 9187}]
    world = at_rest(_of("v1", "Service", "db", spec={"selector": {"app": "db"}, "ports": ports}))
    _patch(world, namespace, "service/db", [{"op": "replace", "path": "/spec/ports/0/port", "value": 5433}])

    def there() -> list[tuple[str, int]]:
        return [(p["name"], p["port"]) for p in _live(world, namespace, "service/db")["spec"]["ports"]]

    wait_until(lambda: there() == [("db", 5432), ("metrics", 9187)], "the ports of git are back")
    world.wait_phase("Synced")


def test_a_set_with_an_element_that_excludes_ours_is_no_dead_end(at_rest: Callable[..., World], namespace: str) -> None:
    api = "admissionregistration.k8s.io/v1"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    policy = _of(
        api,
        "ValidatingAdmissionPolicy",
        namespace,
        spec={
            "failurePolicy": "Ignore",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "nowhere"}},
                "resourceRules": [rule],
            },
            "validations": [{"expression": "true"}],
        },
    )
    binding = _of(
        api,
        "ValidatingAdmissionPolicyBinding",
        namespace,
        spec={"policyName": namespace, "validationActions": ["Warn"]},
    )
    world = at_rest(policy, binding)
    what = f"validatingadmissionpolicybinding/{namespace}"
    try:
        _patch(world, namespace, what, {"spec": {"validationActions": ["Deny"]}})
        wait_until(lambda: _live(world, namespace, what)["spec"]["validationActions"] == ["Warn"], "back to a warning")
        world.wait_phase("Synced")
    finally:
        world.kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", namespace)


def test_what_is_on_its_way_out_is_not_taken_for_healed_and_comes_back_when_it_is_gone(
    at_rest: Callable[..., World], namespace: str
) -> None:
    world = at_rest(config_map("held", {"v": "git"}), config_map("free", {"v": "git"}))
    _patch(world, namespace, "configmap/held", {"metadata": {"finalizers": ["example.org/hold"]}})
    first = _live(world, namespace, "configmap/held")["metadata"]["uid"]
    world.kubectl("delete", "configmap", "held", "-n", namespace, "--wait=false")
    found = wait_until(lambda: _told(world, "held"), "it is told of")
    assert "being deleted" in found["message"], found
    _patch(world, namespace, "configmap/free", {"data": {"v": "by hand"}})
    wait_until(lambda: world.data(namespace, "free") == {"v": "git"}, "others are healed meanwhile")
    assert _live(world, namespace, "configmap/held")["metadata"]["uid"] == first
    _patch(world, namespace, "configmap/held", {"metadata": {"finalizers": None}})
    wait_until(lambda: _live(world, namespace, "configmap/held")["metadata"]["uid"] != first, "it is there again")
    world.wait_phase("Synced")


def test_a_definition_that_loses_a_field_is_told_and_all_is_mended_when_it_is_back(
    at_rest: Callable[..., World], namespace: str
) -> None:
    """The definition is somebody else's; what is stored loses the field as soon as anybody writes the object."""
    group = f"{namespace[-8:]}.example.org"
    field = {"type": "integer"}
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"size": field, "name": {"type": "string"}}}},
    }
    definition = _of(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        f"teams.{group}",
        spec={
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "teams", "singular": "team", "kind": "Team", "listKind": "TeamList"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    )
    world = at_rest(_of(f"{group}/v1", "Team", "one", spec={"size": 3, "name": "a"}), before=definition)
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size"
    crd, team = f"crd/teams.{group}", f"teams.{group}/one"
    try:
        _patch(world, namespace, crd, [{"op": "remove", "path": path}])
        _touch_until(world, namespace, team, lambda spec: "size" not in spec)
        shown = wait_until(lambda: _told(world, "one"), "it is told of")
        assert "spec.size" in shown["message"], shown
        _patch(world, namespace, crd, [{"op": "add", "path": path, "value": field}])
        wait_until(lambda: _live(world, namespace, team)["spec"] == {"size": 3, "name": "a"}, "the field is back")
        world.wait_phase("Synced")
    finally:
        world.kubectl("delete", crd.partition("/")[0], crd.partition("/")[2], "--wait=false")


def _touch_until(world: World, space: str, what: str, reached: Callable[[Body], bool]) -> None:
    """Write beside us until the server works with the new definition."""

    def once() -> bool:
        world.kubectl("annotate", *what.split("/"), "-n", space, "--overwrite", "touched=yes")
        world.kubectl("annotate", *what.split("/"), "-n", space, "touched-")
        return reached(_live(world, space, what)["spec"])

    wait_until(once, "what is stored has changed")


# ---------------------------------------------------------------- what must not become a fight


def test_the_rules_of_an_aggregated_role_are_its_controllers(at_rest: Callable[..., World], namespace: str) -> None:
    """With `rules` in git as well, whoever applies them takes back what the controller has filled in, for ever."""
    selector = {"matchLabels": {f"aggregate-{namespace}": "yes"}}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    part = _of(RBAC, "ClusterRole", f"{namespace}-part", rules=rules)
    part["metadata"]["labels"] = selector["matchLabels"]
    whole = _of(RBAC, "ClusterRole", namespace, aggregationRule={"clusterRoleSelectors": [selector]}, rules=[])
    world = at_rest(part, whole)
    try:
        wait_until(lambda: _live(world, namespace, f"clusterrole/{namespace}")["rules"] == rules, "aggregated")
        wait_until(lambda: _rested(world), "at rest")
        mark = world.mark()
        more = [*rules, {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]}]
        other = _of(RBAC, "ClusterRole", f"{namespace}-other", rules=more[1:])
        other["metadata"]["labels"] = selector["matchLabels"]
        world.kubectl("create", "-f", "-", input=json.dumps(other))
        wait_until(lambda: len(_live(world, namespace, f"clusterrole/{namespace}")["rules"]) == 2, "aggregated anew")
        wait_until(lambda: _rested(world), "at rest")
        assert world.writes(mark) == []
    finally:
        names = (namespace, f"{namespace}-part", f"{namespace}-other")
        world.kubectl("delete", "clusterrole", "--ignore-not-found", *names)


@contextmanager
def _rival(world: World, space: str, what: str) -> Iterator[None]:
    """Somebody who writes a value of ours again and again."""
    over = Event()

    def write() -> None:
        number = 0
        while not over.wait(0.1):
            number += 1
            try:
                _patch(world, space, what, {"data": {"v": f"theirs-{number}"}}, "--field-manager=rival")
            except SandboxError:
                if not over.is_set():
                    raise

    thread = Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_whoever_writes_again_and_again_is_named_and_mended_ever_less_often(
    at_rest: Callable[..., World], namespace: str
) -> None:
    world = at_rest(config_map("fought", {"v": "git"}), config_map("other", {"v": "git"}))
    mark = world.mark()
    with _rival(world, namespace, "configmap/fought"):

        def contested() -> str:
            shown = _told(world, "fought", "drift")
            return str(shown["contested"]) if shown else ""

        assert "rival" in wait_until(contested, "it is called contested")
        _patch(world, namespace, "configmap/other", {"data": {"v": "by hand"}})
        wait_until(lambda: world.data(namespace, "other") == {"v": "git"}, "others are healed meanwhile")
    repairs = [write for write in world.writes(mark) if write[2].endswith("/fought")]
    assert len(repairs) <= 5, repairs
    wait_until(lambda: world.data(namespace, "fought") == {"v": "git"}, "healed when the rival is gone")


# ---------------------------------------------------------------- what only looks like ours


def test_a_secret_written_as_text_is_healed_key_by_key(at_rest: Callable[..., World], namespace: str) -> None:
    """The server turns stringData into data, and would leave us owning nothing of that."""
    world = at_rest(_of("v1", "Secret", "db", stringData={"user": "app", "password": "first"}))

    def data() -> Any:
        return _live(world, namespace, "secret/db")["data"]

    delivered = data()
    assert set(delivered) == {"user", "password"}
    _patch(world, namespace, "secret/db", {"data": {"password": "b3RoZXI="}})
    wait_until(lambda: data() == delivered, "healed")
    commit = world.push({"app/all.yaml": [_of("v1", "Secret", "db", stringData={"user": "app"})]})
    world.wait_good(commit)
    assert set(data()) == {"user"}, "what left git has left the object"


def test_labels_that_leak_to_what_controllers_make_give_us_nothing_more_to_care_for(
    at_rest: Callable[..., World], namespace: str
) -> None:
    service = _of("v1", "Service", "web", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]})
    world = at_rest(service, deployment("web", GOOD, 2))

    def leaked() -> list[Body]:
        items: list[Body] = json.loads(
            world.kubectl("get", "endpointslices,endpoints", "-n", namespace, "-l", PART_OF, "-o", "json")
        )["items"]
        return items

    wait_until(leaked, "the Service's label is on what its controllers make")
    assert world.status()["units"]["total"] == 2
    wait_until(lambda: _rested(world), "at rest")
    mark = world.mark()
    world.push({"app/all.yaml": [service, deployment("web", GOOD, 3)]})
    wait_until(lambda: _live(world, namespace, "deployment/web")["spec"]["replicas"] == 3, "scaled by a commit")
    wait_until(lambda: _rested(world), "at rest")
    assert {what for _, what, _ in world.writes(mark)} == {"deployments"}
    assert leaked()


def test_a_job_that_has_ended_and_left_is_not_run_again(at_rest: Callable[..., World], namespace: str) -> None:
    world = at_rest(job("migrate", ttl=1), config_map("one", {"v": "git"}))
    wait_until(lambda: world.get("job", "migrate", "-n", namespace) is None, "it has left by itself")
    mark = world.mark()
    _patch(world, namespace, "configmap/one", {"data": {"v": "by hand"}})
    wait_until(lambda: world.data(namespace, "one") == {"v": "git"}, "healed")
    wait_until(lambda: _rested(world), "at rest")
    assert {place.rpartition("/")[2] for _, _, place in world.writes(mark)} == {"one"}
    world.wait_phase("Synced")
    assert world.status()["units"]["drifted"] == 0
