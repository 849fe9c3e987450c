"""A Job runs once for each wish: no heal, no rollback, no restart and no lost host runs it again."""

from __future__ import annotations

from typing import Any

from tests.support.world import World, config_map, deployment, job, wait_until


def stack(world: World, space: str, **spec: Any) -> dict[str, Any]:
    return {"gitopsd.yaml": world.stack_file({"name": "app", "path": "app", "namespace": space}, **spec)}


def job_writes(world: World, since: int) -> list[tuple[str, str, str]]:
    return [w for w in world.writes(since) if w[1] == "jobs"]


def uid(world: World, space: str, name: str = "migrate") -> str:
    found = world.get("job", name, "-n", space)
    assert found is not None
    return str(found["metadata"]["uid"])


def test_a_finished_job_that_its_ttl_took_is_never_run_again(world: World, namespace: str) -> None:
    files = {
        "app/migrate.yaml": job("migrate", ttl=0, wave="-1"),
        "app/settings.yaml": config_map("settings", {"v": "1"}),
    }
    world.push({**stack(world, namespace), **files})
    mark = world.mark()
    world.once()
    assert world.phase() == "Synced"
    wait_until(lambda: world.get("job", "migrate", "-n", namespace) is None, "the Job's time to live is over")
    assert len(job_writes(world, mark)) == 1
    mark = world.mark()

    world.once()  # a restart, with a look for drift
    world.kubectl("patch", "configmap", "settings", "-n", namespace, "--type=merge", "-p", '{"data":{"v":"drift"}}')
    world.once()  # a heal
    assert world.data(namespace, "settings") == {"v": "1"}
    world.push({"app/bad.yaml": deployment("bad", "registry.example/app:pull-error", wave="1")})
    world.once(code=1)  # a rollback
    assert world.verdicts()[-1] == ("rollback", "good")
    world.push({"app/bad.yaml": None, "app/settings.yaml": config_map("settings", {"v": "2"})})
    world.once()
    world.lose_state()  # a lost host
    world.once()
    world.push({"app/settings.yaml": config_map("settings", {"v": "3"})})
    world.once()
    assert world.data(namespace, "settings") == {"v": "3"}
    assert world.phase() == "Synced"
    assert job_writes(world, mark) == []
    assert world.status()["attention"] == []


def test_a_changed_template_replaces_a_finished_job_and_waits_for_a_running_one(world: World, namespace: str) -> None:
    world.push({**stack(world, namespace), "app/migrate.yaml": job("migrate", "registry.example/app:1")})
    world.once()
    first = uid(world, namespace)
    world.push({"app/migrate.yaml": job("migrate", "registry.example/app:2")})
    assert "recreate" in world.gitopsd("plan", code=2)
    world.once()
    second = uid(world, namespace)
    assert second != first

    # One that runs for ever, made by hand so that no gate waits for it.
    world.push({"app/migrate.yaml": job("migrate", "registry.example/app:never-ready", gate="ignore")})
    world.once()
    running = uid(world, namespace)
    assert running != second
    mark = world.mark()
    world.push({"app/migrate.yaml": job("migrate", "registry.example/app:3")})
    world.once(code=1)
    assert world.holds() == {"blocked"}
    assert "is running with another template" in world.status()["message"]
    assert world.writes(mark) == []
    assert uid(world, namespace) == running

    world.kubectl("delete", "job", "migrate", "-n", namespace)
    world.once()
    assert world.phase() == "Synced"
    found = world.get("job", "migrate", "-n", namespace)
    assert found is not None
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/app:3"


def test_a_failed_job_fails_the_run_and_its_fix_runs(world: World, namespace: str) -> None:
    old = config_map("settings", {"v": "old"}, wave="-2")
    world.push({**stack(world, namespace), "app/settings.yaml": old, "app/web.yaml": deployment("web")})
    world.once()
    mark = world.mark()
    broken = job("migrate", "registry.example/app:job-fails", wave="-1")
    new = config_map("settings", {"v": "new"}, wave="-2")
    web = deployment("web", "registry.example/app:2")
    world.push({"app/migrate.yaml": broken, "app/settings.yaml": new, "app/web.yaml": web})
    world.once(code=1)
    assert world.verdicts()[-2:] == [("deploy", "failed"), ("rollback", "good")]
    failed = world.json("show", world.history()[1]["id"])
    assert failed["failing"] == f"Job.batch/{namespace}/migrate"
    assert "BackoffLimitExceeded" in failed["reason"]
    assert world.data(namespace, "settings") == {"v": "old"}
    assert ("patch", "deployments", f"{namespace}/web") not in world.writes(mark)
    wait_until(lambda: world.get("job", "migrate", "-n", namespace) is None, "the Job that the failed run made is gone")

    world.push({"app/migrate.yaml": job("migrate", "registry.example/app:1", wave="-1")})
    world.once()
    assert world.data(namespace, "settings") == {"v": "new"}
    found = world.get("job", "migrate", "-n", namespace)
    assert found is not None
    assert found["status"]["succeeded"] == 1
    assert world.phase() == "Synced"
