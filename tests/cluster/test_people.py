"""SEMANTICS 5, 10, 12, 15 with the daemon itself: what people say over its socket, and what becomes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from typing import Any

import pytest

from tests.support.moments import BROKEN, GOOD, NEWER, Doorkeeper, two_waves
from tests.support.world import World, config_map, wait_until

REJECTED_UID = 65534


def settings(world: World, space: str, value: str, **spec: Any) -> dict[str, Any]:
    component = {"name": "app", "path": "app", "namespace": space, "gate": {"timeout": "60s"}}
    return {
        "gitopsd.yaml": world.stack_file(component, **spec),
        "app/settings.yaml": config_map("settings", {"v": value}),
    }


def value(world: World, space: str) -> str | None:
    return (world.data(space, "settings") or {}).get("v")


def deliver(world: World, space: str, text: str, **spec: Any) -> str:
    commit = world.push(settings(world, space, text, **spec))
    world.wait_good(commit)
    return commit


def audited(world: World, action: str) -> list[dict[str, Any]]:
    return [e for e in world.json("audit", "-n", "500")["entries"] if e["action"] == action]


def test_suspend_holds_newer_commits_back_until_resume_or_its_time_is_over(world: World, namespace: str) -> None:
    world.start()
    deliver(world, namespace, "1")
    assert "is suspended" in world.gitopsd("suspend", world.stack, "--reason", "by hand today")
    wait_until(lambda: world.holds() == {"suspended"}, "it is held")
    world.push(settings(world, namespace, "2"))
    wait_until(lambda: world.status()["revision"]["desired"] != world.status()["revision"]["good"], "it is noted")
    assert (value(world, namespace), world.phase()) == ("1", "Held")
    (hold,) = world.status()["holds"]
    assert f"`gitopsd resume {world.stack}` lifts it" in hold["detail"]
    world.gitopsd("resume", world.stack)
    wait_until(lambda: value(world, namespace) == "2", "it goes on")

    world.gitopsd("suspend", world.stack, "--for", "4s")
    third = world.push(settings(world, namespace, "3"))
    wait_until(lambda: "suspended" in world.holds(), "it is held again")
    world.wait_good(third)
    assert world.holds() == set()
    (first, second) = audited(world, "suspend")
    assert (first["actor"]["kind"], first["actor"]["name"]) == ("user", "root")
    assert "by hand today" in first["detail"]
    assert second["result"] == "taken"


def test_what_would_delete_too_much_waits_for_a_person(world: World, namespace: str) -> None:
    many = {f"app/c{n}.yaml": config_map(f"c{n}", {}) for n in range(7)}
    world.start()
    first = world.push({**settings(world, namespace, "1"), **many})
    world.wait_good(first)
    gone: dict[str, Any] = dict.fromkeys(many)
    world.push(gone, "empty it by mistake")
    wait_until(lambda: world.holds() == {"approval"}, "it asks")
    assert f"gitopsd approve {world.stack}" in world.status()["message"]
    assert "rejected: 7 of" in world.gitopsd("reject", world.stack, "--reason", "a mistake")
    wait_until(lambda: world.holds() == {"quarantined"}, "it has failed")
    assert "root rejected it (a mistake)" in world.history()[0]["reason"]
    assert world.history()[0]["cause"] == "person"

    world.gitopsd("retry", world.stack)
    wait_until(lambda: world.holds() == {"approval"}, "it asks again")
    world.gitopsd("approve", world.stack)
    wait_until(lambda: world.data(namespace, "c0") is None, "it is deleted")
    world.wait_phase("Synced")


def test_nobody_answering_is_a_no(world: World, namespace: str) -> None:
    many = {f"app/c{n}.yaml": config_map(f"c{n}", {}) for n in range(7)}
    world.start()
    first = world.push({**settings(world, namespace, "1", approvalTimeout="3s"), **many})
    world.wait_good(first)
    world.push(dict.fromkeys(many))
    wait_until(lambda: world.holds() == {"quarantined"}, "it has failed")
    assert "nobody approved it between" in world.history()[0]["reason"]
    assert world.data(namespace, "c0") == {}


def test_going_back_once_and_again_and_on_again(world: World, namespace: str) -> None:
    world.start()
    first, second, third = (deliver(world, namespace, text) for text in "123")
    assert second[:12] in world.gitopsd("rollback", world.stack, "--reason", "orders are lost")
    wait_until(lambda: value(world, namespace) == "2" and world.holds() == {"pinned"}, "it is back")
    run = world.history()[0]
    assert (run["kind"], run["revision"], run["verdict"], run["author"]) == ("rollback", second, "good", "root")
    assert first[:12] in world.gitopsd("rollback", world.stack)
    wait_until(lambda: value(world, namespace) == "1" and world.phase() == "Held", "it is further back")
    done = world.run("rollback", world.stack)
    assert (done.returncode, "no older good revision" in done.stderr) == (1, True)
    world.gitopsd("resume", world.stack)
    assert world.gitopsd("sync", world.stack, "--wait") == f"{world.stack} is as git asks\n"
    assert value(world, namespace) == "3"
    assert world.status()["revision"]["good"] == third


def test_retry_tries_what_has_failed_once_more(world: World, namespace: str) -> None:
    world.push(two_waves(world, namespace, "old", GOOD))
    world.start()
    wait_until(lambda: world.phase() == "Synced", "the first is good")
    world.push(two_waves(world, namespace, "new", BROKEN))
    wait_until(lambda: world.holds() == {"quarantined"}, "it is held")
    assert world.run("sync", world.stack, "--wait").returncode == 1
    before = len(world.history())
    world.gitopsd("retry", world.stack, "--reason", "the image is there now")
    wait_until(lambda: len(world.history()) == before + 2 and world.phase() == "Held", "it is tried and taken back")
    assert world.verdicts()[-2:] == [("deploy", "failed"), ("rollback", "good")]


def test_commits_that_all_fail_at_what_they_did_not_change_wait_for_retry(world: World, namespace: str) -> None:
    world.push(two_waves(world, namespace, "good", GOOD))
    world.start()
    wait_until(lambda: world.phase() == "Synced", "the first is good")
    for number in (1, 2, 3):
        world.push(two_waves(world, namespace, str(number), BROKEN))
        taken_back = [("deploy", "good"), *[("deploy", "failed"), ("rollback", "good")] * number]
        wait_until(partial(lambda seen: world.verdicts() == seen, taken_back), f"number {number} is taken back")
    (hold,) = (h for h in world.status()["holds"] if h["reason"] == "flapping")
    assert f"the last 3 deploys failed at Deployment.apps/{namespace}/web" in hold["detail"]
    assert f"`gitopsd retry {world.stack}`" in hold["detail"]

    runs = len(world.history())
    fixed = world.push(two_waves(world, namespace, "4", NEWER))
    wait_until(lambda: world.status()["revision"]["desired"] == fixed, "it is noted")
    assert "is as git asks" not in world.run("sync", world.stack, "--wait").stdout
    assert (len(world.history()), (world.data(namespace, "settings") or {})["greeting"]) == (runs, "good")
    assert "tried again" in world.gitopsd("retry", world.stack, "--reason", "the image is there now")
    world.wait_good(fixed)
    assert world.holds() == set()
    assert world.image(namespace, "web") == NEWER


def as_nobody(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The client in a process of a user who is in no group that matters; the code is imported before."""
    code = (
        "import os, sys\n"
        "from gitopsd.control import client\n"
        "from pathlib import Path\n"
        "from gitopsd.model.orders import Request\n"
        f"os.setgroups([]); os.setgid({REJECTED_UID}); os.setuid({REJECTED_UID})\n"
        "answer = client.talk(Path(sys.argv[1]), Request(sys.argv[2], sys.argv[3]))\n"
        "print(answer.ok, answer.text)\n"
    )
    directory = os.open(world.directory / "run", os.O_PATH | os.O_DIRECTORY)
    command = [sys.executable, "-c", code, f"/proc/self/fd/{directory}/gitopsd.sock", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, pass_fds=(directory,))
    finally:
        os.close(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_user_outside_the_group_is_refused_and_audited(world: World, namespace: str) -> None:
    world.start()
    deliver(world, namespace, "1")
    done = as_nobody(world, "suspend", world.stack)
    assert done.stdout == "False nobody may not order: only root may\n", done.stderr
    assert world.holds() == set()
    (entry,) = audited(world, "suspend")
    assert (entry["actor"]["name"], entry["result"]) == ("nobody", "refused")


def test_a_kill_between_order_and_effect_loses_nothing(world: World, namespace: str) -> None:
    with Doorkeeper(is_open=False) as keeper:
        daemon = world.start()
        world.push(two_waves(world, namespace, "old", GOOD, keeper=keeper, timeout="120s"))
        keeper.wait_asked()
        assert "ends first" in world.gitopsd("suspend", world.stack)
        world.kill(daemon)
        world.start()
        keeper.open()
        wait_until(lambda: world.verdicts()[-1:] == [("deploy", "good")], "the run that was under way ends first")
        wait_until(lambda: world.holds() == {"suspended"}, "the order was not lost")
        world.push(two_waves(world, namespace, "new", GOOD, keeper=keeper))
        assert keeper.quiet()
        assert world.data(namespace, "settings") == {"greeting": "old"}


def test_at_once_stops_a_run_and_destroy_ends_it_all(world: World, namespace: str) -> None:
    with Doorkeeper(is_open=False) as keeper:
        world.start()
        world.push(two_waves(world, namespace, "old", GOOD, keeper=keeper, timeout="300s"))
        keeper.wait_asked()
        world.gitopsd("suspend", world.stack, "--now")
        wait_until(lambda: world.verdicts() == [("deploy", "held")], "it stops at a safe point")
        assert "suspended by root" in world.history()[0]["reason"]
        assert world.run("destroy", world.stack).returncode == 1
        world.gitopsd("destroy", world.stack, "--yes", world.stack)
        wait_until(lambda: world.holds() == {"destroyed"}, "everything of it is gone")
        wait_until(lambda: world.data(namespace, "settings") is None, "the ConfigMap is gone")
        wait_until(lambda: world.get("deployment", "web", "-n", namespace) is None, "the Deployment is gone")


def test_a_client_without_a_daemon_is_told_what_to_do(world: World) -> None:
    done = world.run("suspend", world.stack)
    assert done.returncode == 1
    assert "gitopsd does not run: nobody listens at" in done.stderr
    assert world.run("suspend").returncode == 64
    assert world.run("suspend", world.stack, "--for", "soon").returncode == 64
