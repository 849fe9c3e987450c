"""`gitopsd plan` tells what would be done, does nothing, and never tells a secret."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.support.world import World, config_map, deployment


def stack(world: World, space: str, **spec: Any) -> dict[str, Any]:
    one, two = ({"name": n, "path": n, "namespace": space} for n in ("base", "app"))
    return {"gitopsd.yaml": world.stack_file(one, {**two, "wave": 10}, **spec)}


def real_writes(world: World, since: int) -> list[str]:
    """Everything in the audit log by which gitopsd could have changed something, its own memory included."""
    asks = {"authorization.k8s.io", "authentication.k8s.io"}
    return [
        f"{event['verb']} {event['requestURI']}"
        for event in world.requests(since)
        if event["verb"] not in {"get", "list", "watch"}
        and "dryRun=All" not in event["requestURI"]
        and event.get("objectRef", {}).get("apiGroup") not in asks
    ]


def test_a_plan_tells_every_change_by_wave_and_writes_nothing(world: World, namespace: str) -> None:
    mark = world.mark()
    files = {
        "base/settings.yaml": config_map("settings", {"greeting": "hello", "text": "a\nb\nc\n"}),
        "base/obsolete.yaml": config_map("obsolete", {"a": "b"}),
        "app/web.yaml": deployment("web"),
    }
    world.push({**stack(world, namespace), **files})
    first = world.gitopsd("plan", code=2)
    assert "+   create" in first
    assert f"Deployment.apps/{namespace}/web  app/web.yaml:1" in first
    assert not (world.state_dir / "state.db").exists()
    assert real_writes(world, mark) == []

    world.once()
    mark = world.mark()
    assert "No changes." in world.gitopsd("plan", code=0)
    changed = config_map("settings", {"greeting": "good day", "text": "a\nB\nc\n"})
    more = {"base/settings.yaml": changed, "base/obsolete.yaml": None, "app/web.yaml": deployment("web", replicas=3)}
    head = world.push(more)
    text = world.gitopsd("plan", code=2)
    for line in (
        "wave 0",
        f"~   update   ConfigMap/{namespace}/settings  base/settings.yaml:1",
        '~ data.greeting: "hello" -> "good day"',
        "-b",
        "+B",
        "wave 10",
        "~ spec.replicas: 1 -> 3",
        "prune, after all waves are healthy",
        f"-   delete   ConfigMap/{namespace}/obsolete",
        "3 changes: 2 to update, 1 to delete.",
    ):
        assert line in text, line
    document = world.json("plan", code=2)
    assert document["schema"] == "gitopsd.io/plan/v1"
    (planned,) = document["stacks"]
    plan = planned["plan"]
    assert plan["commit"] == head
    assert [wave["order"] for wave in plan["waves"]] == [[0, 0], [10, 0]]
    assert [change["unit"] for change in plan["prune"]] == [f"ConfigMap/{namespace}/obsolete"]
    assert real_writes(world, mark) == []

    world.once()
    # What was shown is what was done.
    shown = world.json("show", "last")["plan"]
    assert (shown["digest"], shown["waves"], shown["prune"]) == (plan["digest"], plan["waves"], plan["prune"])


def test_another_branch_can_be_planned_and_a_mistake_exits_1(world: World, namespace: str) -> None:
    world.push(
        {**stack(world, namespace), "base/a.yaml": config_map("a", {"v": "1"}), "app/web.yaml": deployment("web")}
    )
    world.once()
    mark = world.mark()
    world.git("checkout", "-q", "-b", "feature/more")
    world.write({"base/a.yaml": config_map("a", {"v": "feature"})})
    world.git("add", "-A")
    world.git("commit", "-q", "-m", "feature")
    world.git("push", "-q", "origin", "feature/more")
    commit = world.git("rev-parse", "HEAD").strip()
    assert '"1" -> "feature"' in world.gitopsd("plan", "--ref", "feature/more", code=2)
    assert world.json("plan", "--ref", commit[:10], code=2)["stacks"][0]["plan"]["commit"] == commit
    assert "No changes." in world.gitopsd("plan", code=0)
    world.write({"base/a.yaml": "a: [\n"})
    world.git("commit", "-q", "-a", "-m", "broken")
    world.git("push", "-q", "origin", "feature/more")
    assert "base/a.yaml:" in world.gitopsd("plan", "--ref", "feature/more", code=1)
    (refused,) = world.json("plan", "--ref", "feature/more", code=1)["stacks"]
    assert refused["plan"] is None
    assert refused["problems"][0]["file"] == "base/a.yaml"
    assert refused["problems"][0]["line"] == 2
    assert world.run("plan", "--ref", "no-such-branch").returncode == 64
    assert real_writes(world, mark) == []
    assert world.status()["revision"]["desired"] != commit


FIRST, SECOND, LIVE = "swordfish-of-the-sea", "opensesame-of-the-cave", "guessed-by-somebody-else"


def secret(value: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "keys"},
        "stringData": {"password": value},
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in data.items()},
    }


def test_the_value_of_a_secret_is_nowhere_to_be_found(world: World, namespace: str) -> None:
    """Not in what any command prints, not in the log, not in the state directory (but for what mirrors the repository
    there), not on the parent. One Secret is taken over from somebody who applied it with kubectl."""
    theirs = {**secret(LIVE), "metadata": {"name": "adopted", "namespace": namespace}}
    world.kubectl("apply", "-f", "-", input=json.dumps(theirs))
    ours = {**secret(SECOND), "metadata": {"name": "adopted"}}
    files = {"base/keys.yaml": secret(FIRST, token=SECOND), "app/web.yaml": deployment("web")}
    world.push({**stack(world, namespace), **files, "base/adopted.yaml": ours})
    printed = [world.run("plan")]
    printed.append(world.run("once"))
    patch = json.dumps({"stringData": {"password": LIVE}})
    world.kubectl("patch", "secret", "keys", "-n", namespace, "--type=merge", "-p", patch)
    world.push({"base/keys.yaml": secret(SECOND, token=FIRST)})
    printed += [world.run("plan"), world.run("plan", "--json"), world.run("once")]
    live = world.get("secret", "keys", "-n", namespace)
    assert live is not None
    assert base64.b64decode(live["data"]["password"]).decode() == SECOND
    # A rollback, a refusal by the API server, and a heal of a Secret.
    bad = deployment("web", "registry.example/app:pull-error")
    world.push({"base/keys.yaml": secret(FIRST, token=FIRST), "app/web.yaml": bad})
    printed.append(world.run("once"))
    live = world.get("secret", "keys", "-n", namespace)
    assert live is not None
    assert base64.b64decode(live["data"]["password"]).decode() == SECOND
    wrong = {**secret(FIRST), "data": {"not base64": f"{SECOND}!"}}
    world.push({"base/keys.yaml": wrong, "app/web.yaml": deployment("web")})
    printed += [world.run("plan"), world.run("once")]
    world.kubectl("patch", "secret", "keys", "-n", namespace, "--type=merge", "-p", patch)
    printed.append(world.run("once"))
    assert world.verdicts()[-1] == ("heal", "good")
    for run in world.history():
        printed += [world.run("show", run["id"], "--plan"), world.run("show", run["id"], "--json")]
    printed += [
        world.run("status", "--json"),
        world.run("audit", "--json"),
        world.run("why", f"Secret/{namespace}/keys"),
    ]

    texts = {f"the output of {' '.join(each.args[3:])}": (each.stdout + each.stderr).encode() for each in printed}
    assert any(b"(sensitive)" in text for text in texts.values())
    of_git = {"mirrors", "cache.db", "cache.db-wal"}
    state = [p for p in world.state_dir.rglob("*") if p.is_file() and not of_git & {*p.parts}]
    assert "state.db" in {path.name for path in state}
    runtime = [p for p in (world.directory / "run").rglob("*") if p.is_file()]
    texts |= {str(path): path.read_bytes() for path in (*state, *runtime)}
    texts["the parent"] = world.kubectl(
        "get", "configmap", f"gitopsd-{world.stack}", "-n", "gitopsd-system", "-o", "json"
    ).encode()
    for value in (FIRST, SECOND, LIVE):
        for form in (value.encode(), base64.b64encode(value.encode())):
            for place, text in texts.items():
                assert form not in text, f"{value} is in {place}"
