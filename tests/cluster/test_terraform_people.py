"""What Terraform would take away waits for a person, with the daemon, its socket and real programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import LoggedProgram, Shop, network
from tests.support.moments import BROKEN, GOOD, NEWER
from tests.support.world import World, wait_until

BEHIND = """\
variable "host" {
  type = string
}
resource "terraform_data" "behind" {
  triggers_replace = [var.host]
}
"""


@pytest.fixture
def shop(world: World, namespace: str, terraform_host: dict[str, str]) -> Iterator[Shop]:
    made = Shop(world, namespace, terraform_host)
    yield made
    world.close()
    made.kill_children()


def live(shop: Shop, *arguments: Any, **named: Any) -> str:
    """The daemon runs, and a first commit is good."""
    shop.world.start()
    commit = shop.world.push(shop.files(*arguments, **named))
    shop.world.wait_good(commit)
    return commit


def wait_asked(shop: Shop, *, but: str = "") -> dict[str, Any]:
    """Until the stack asks (something else than `but`); the hold."""

    def asked() -> dict[str, Any] | None:
        holds = shop.world.status().get("holds", [])
        return next((h for h in holds if h["reason"] == "approval" and h["detail"] != but), None)

    hold: dict[str, Any] = wait_until(asked, "a person is asked")
    return hold


def test_a_replacement_waits_with_its_resources_listed_and_exactly_it_is_applied(shop: Shop, tmp_path: Path) -> None:
    world = shop.world
    program = LoggedProgram(tmp_path, shop.host["binary"])
    shop.configure(binary=str(program.binary))
    live(shop)
    before, state = shop.resources(), shop.state()
    mark = world.mark()
    bad = world.push(shop.files("2", NEWER, code=network("large")))
    hold = wait_asked(shop)

    for text in (hold["detail"], world.gitopsd("status", code=2), world.gitopsd("plan", code=2)):
        words = " ".join(text.split())
        assert "replace terraform_data.db" in words
        assert f"gitopsd approve {world.stack}" in words
    assert "root" in hold["detail"]
    assert bad[:12] in hold["detail"]
    assert shop.state() == state
    assert shop.lock() == ""
    assert world.writes(mark) == []

    program.forget()
    world.gitopsd("approve", world.stack, "--reason", "the database is empty")
    world.wait_good(bad)
    assert (shop.size(), shop.settings(), shop.image()) == ("2", "db-2", NEWER)
    after = shop.resources()
    assert after["terraform_data.db"]["id"] != before["terraform_data.db"]["id"]
    assert after["random_pet.name"] == before["random_pet.name"]
    applies = [arguments for _, arguments in program.calls if arguments.startswith("apply")]
    assert len(applies) == 1
    assert not any(word in applies[0] for word in ("-auto-approve", "-var", "-replace", "-target"))
    assert world.holds() == set()
    entry = next(e for e in world.json("audit", "-n", "500")["entries"] if e["action"] == "approve")
    assert (entry["actor"]["name"], entry["result"]) == ("root", "taken")
    assert "the database is empty" in entry["detail"]
    assert "Terraform component network would change: 1 to replace" in entry["detail"]


def test_a_state_that_another_run_moved_asks_anew(shop: Shop, tmp_path: Path) -> None:
    world = shop.world
    live(shop)
    shop.by_hand(tmp_path / "person", "plan", "-input=false", "-var-file=live.tfvars")
    commit = world.push(shop.files(code=network("large")))
    first = wait_asked(shop)
    shop.by_hand(
        tmp_path / "person",
        "apply",
        "-input=false",
        "-auto-approve",
        "-var-file=live.tfvars",
        "-replace=random_pet.name",
    )
    theirs = shop.resources()
    world.gitopsd("approve", world.stack)
    second = wait_asked(shop, but=first["detail"])
    assert shop.resources() == theirs, "what was allowed was for another state"
    world.gitopsd("approve", world.stack)
    world.wait_good(commit)
    assert second["detail"] != first["detail"]
    assert shop.resources()["terraform_data.db"]["id"] != theirs["terraform_data.db"]["id"]
    assert shop.resources()["random_pet.name"] == theirs["random_pet.name"]


def test_an_unrelated_newer_commit_keeps_what_was_asked_and_answered(shop: Shop) -> None:
    world = shop.world
    live(shop)
    world.push(shop.files(code=network("large")))
    first = wait_asked(shop)
    newer = world.push({"base/more.yaml": {**_config("more")}})
    second = wait_asked(shop, but=first["detail"])  # the text names the newer commit
    assert newer[:12] in second["detail"]
    assert (first["since"], digest_in(first)) == (second["since"], digest_in(second))
    world.gitopsd("approve", world.stack, digest_in(first))
    world.wait_good(newer)
    assert world.data(shop.space, "more") == {"a": "b"}


def digest_in(hold: dict[str, Any]) -> str:
    return str(hold["detail"]).partition("gitopsd approve ")[2].split("`")[0].split()[1]


def _config(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}}


def test_a_destruction_that_is_rejected_is_quarantined_and_nothing_was_touched(shop: Shop) -> None:
    world = shop.world
    good = live(shop)
    state, mark = shop.state(), world.mark()
    without = network().replace('resource "random_pet" "name" {\n}\n', "")
    bad = world.push(shop.files("2", code=without))
    assert "destroy random_pet.name" in wait_asked(shop)["detail"]
    world.gitopsd("reject", world.stack, "--reason", "we still need it")
    wait_until(lambda: world.holds() == {"quarantined"}, "it has failed")
    revision = world.status()["revision"]
    assert (revision["good"], revision["quarantined"]) == (good, [bad])
    failed = world.history()[0]
    assert (failed["verdict"], failed["cause"]) == ("failed", "person")
    assert "root rejected it (we still need it)" in failed["reason"]
    assert shop.state() == state
    assert world.writes(mark) == []


def test_nobody_answering_fails_the_commit(shop: Shop) -> None:
    world = shop.world
    live(shop)
    state = shop.state()
    world.push(shop.files(code=network("large"), approvalTimeout="3s"))
    wait_until(lambda: world.holds() == {"quarantined"}, "it has failed")
    assert "nobody approved it" in world.history()[0]["reason"]
    assert shop.state() == state


def behind(shop: Shop, size: str, **spec: Any) -> dict[str, Any]:
    """A module that is replaced for an output that is known only after another one was applied."""
    component = shop.module("behind", 20, varsFrom=[{"terraform": "network.host"}])
    return shop.files(size, components=[component], more={"infra/behind/main.tf": BEHIND}, **spec)


def test_what_shows_in_its_wave_only_waits_there(shop: Shop) -> None:
    world = shop.world
    world.start()
    world.wait_good(world.push(behind(shop, "1")))
    before = shop.resources("behind")
    second = world.push(behind(shop, "2"))
    assert "replace terraform_data.behind" in wait_asked(shop)["detail"]
    assert shop.size() == "2", "what nobody has to allow went on"
    assert shop.resources("behind") == before
    world.gitopsd("approve", world.stack)
    world.wait_good(second)
    assert shop.resources("behind") != before
    assert world.verdicts()[-1] == ("deploy", "good")


def test_nobody_answering_in_a_wave_brings_back_what_was_done(shop: Shop) -> None:
    world = shop.world
    world.start()
    world.wait_good(world.push(behind(shop, "1")))
    before = shop.resources(), shop.resources("behind")
    world.push(behind(shop, "2", approvalTimeout="3s"))
    wait_until(lambda: world.holds() == {"quarantined"}, "it has failed and is back")
    assert world.verdicts()[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert (shop.resources(), shop.resources("behind")) == before
    assert shop.settings() == "db-1"


@pytest.mark.parametrize("backend", ["kubernetes", "local"])
def test_a_vanished_component_is_destroyed_once_a_person_allows_it(shop: Shop, backend: str) -> None:
    world = shop.world
    shop.configure(backend=backend)
    extra = shop.module("extra", 5)
    live(shop, components=[extra], more={"infra/extra/main.tf": 'resource "random_pet" "extra" {\n}\n'})
    assert list(shop.resources("extra")) == ["random_pet.extra"]
    others = shop.resources()
    commit = world.push({**shop.files(), "infra/extra/main.tf": None})
    assert "destroy random_pet.extra" in wait_asked(shop)["detail"]
    assert list(shop.resources("extra")) == ["random_pet.extra"]
    world.gitopsd("approve", world.stack)
    world.wait_good(commit)
    assert shop.resources("extra") == {}
    assert shop.resources() == others
    assert world.phase() == "Synced"


def test_what_a_person_allowed_goes_back_with_the_rest(shop: Shop) -> None:
    """A destroyed resource is made anew by the rollback; nobody has to allow that."""
    world = shop.world
    live(shop)
    before = shop.resources()
    without = network().replace('resource "random_pet" "name" {\n}\n', "")
    world.push(shop.files("2", BROKEN, code=without))
    wait_asked(shop)
    world.gitopsd("approve", world.stack)
    wait_until(lambda: world.holds() == {"quarantined"}, "it has failed and is back")
    assert world.verdicts()[-2:] == [("deploy", "failed"), ("rollback", "good")]
    after = shop.resources()
    assert after.keys() == before.keys()
    assert after["terraform_data.db"] == before["terraform_data.db"]
    assert after["random_pet.name"] != before["random_pet.name"]
    assert (shop.settings(), shop.image()) == ("db-1", GOOD)


def test_a_vanished_component_may_be_abandoned_with_everything_that_it_made(shop: Shop) -> None:
    world = shop.world
    extra = shop.module("extra", 5)
    live(shop, components=[extra], more={"infra/extra/main.tf": 'resource "random_pet" "extra" {\n}\n'})
    before = shop.resources("extra")
    commit = world.push({**shop.files(), "infra/extra/main.tf": None})
    wait_asked(shop)
    told = world.gitopsd("abandon", world.stack, "extra", "--reason", "another team has it now")
    assert "left as it is and forgotten: terraform/extra" in told
    world.wait_good(commit)
    wait_until(lambda: world.phase() == "Synced", "nothing is asked any more")
    assert shop.resources("extra") == before
    newer = world.push(shop.files("3"))
    world.wait_good(newer)
    assert shop.resources("extra") == before
    (entry,) = [e for e in world.json("audit", "-n", "500")["entries"] if e["action"] == "abandon"]
    assert (entry["unit"], entry["detail"].partition(":")[0]) == ("terraform/extra", "another team has it now")


def test_the_lock_of_a_lost_host_is_removed_at_a_persons_word_and_the_run_goes_on(shop: Shop) -> None:
    world = shop.world
    shop.configure(lockTimeout="1s")
    live(shop)
    lease = f"lock-tfstate-default-{shop.key}"
    who = {"ID": "lost-lock", "Operation": "OperationTypeApply", "Who": "root@lost", "Created": "2026-11-22T22:00:00Z"}
    patch = {
        "metadata": {"annotations": {"app.terraform.io/lock-info": json.dumps(who)}},
        "spec": {"holderIdentity": "lost-lock"},
    }
    world.kubectl("patch", "-n", "gitopsd-system", f"lease/{lease}", "--type=merge", "-p", json.dumps(patch))
    commit = world.push(shop.files("2"))
    told = wait_until(
        lambda: next((h["detail"] for h in world.status()["holds"] if h["reason"] == "blocked"), ""), "it waits"
    )
    assert "root@lost since 2026-11-22 22:00:00 UTC" in told
    assert f"gitopsd unlock {world.stack} network" in told
    assert "by now" in world.run("unlock", world.stack, "network", "--lock", "another").stderr
    assert shop.lock() == "lost-lock"
    told = world.gitopsd("unlock", world.stack, "network", "--reason", "the host burnt down")
    assert "the lock of root@lost since 2026-11-22 22:00:00 UTC" in told
    world.wait_good(commit)
    assert shop.lock() == ""
    assert "not locked" in world.run("unlock", world.stack, "network").stderr
