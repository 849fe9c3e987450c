"""The host is lost: what the cluster remembers is enough, and reading it back writes no object."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support.moments import BROKEN, GOOD, NEWER, STUCK, Doorkeeper, two_waves
from tests.support.world import World, config_map, job, wait_until


@pytest.fixture
def keeper() -> Iterator[Doorkeeper]:
    with Doorkeeper() as made:
        yield made


def rewrite_history(world: World) -> str:
    """The same files under another history, in a repository that never heard of the old one; the new head."""
    world.git("checkout", "-q", "--orphan", "rewritten")
    world.git("commit", "-q", "-m", "everything as one commit")
    world.git("branch", "-q", "-M", "main")
    world.repository.rename(world.repository.with_suffix(".old"))
    world.git("init", "-q", "--bare", "-b", "main", str(world.repository), cwd=world.directory)
    world.git("push", "-q", "origin", "main")
    return world.git("rev-parse", "HEAD").strip()


def assert_still_works(world: World, space: str) -> None:
    """A push goes live, and a bad one on top goes back to it and not to anything else."""
    better = world.push(two_waves(world, space, "better", NEWER))
    world.once()
    world.wait_good(better)
    bad = world.push(two_waves(world, space, "worse day", BROKEN))
    world.once(code=1)
    assert_rolled_back(world, space, good=better, bad=bad, greeting="better", image=NEWER)


def assert_rolled_back(world: World, space: str, *, good: str, bad: str, greeting: str, image: str) -> None:
    assert world.verdicts()[-2:] == [("deploy", "failed"), ("rollback", "good")]
    assert world.data(space, "settings") == world.data(space, "beside") == {"greeting": greeting}
    assert world.image(space, "web") == image
    revision = world.status()["revision"]
    assert revision["good"] == good
    assert bad in revision["quarantined"]


def test_lost_at_rest(world: World, namespace: str) -> None:
    commit = world.push(two_waves(world, namespace, "hello", GOOD))
    world.once()
    before = world.history()[0]["id"]
    world.lose_state()
    mark = world.mark()
    world.once()
    assert world.writes(mark) == []
    status = world.status()
    assert (status["phase"], status["revision"]["good"], status["units"]["total"]) == ("Synced", commit, 3)
    assert world.history() == []
    assert_still_works(world, namespace)
    assert before not in {run["id"] for run in world.history()}, "a run got the name of one before the loss"


def test_lost_at_rest_and_the_bad_push_is_the_first_thing_that_comes(world: World, namespace: str) -> None:
    good = world.push(two_waves(world, namespace, "hello", GOOD))
    world.once()
    world.lose_state()
    bad = world.push(two_waves(world, namespace, "bad day", BROKEN, more={"app/a.yaml": config_map("added", {})}))
    world.once(code=1)
    assert_rolled_back(world, namespace, good=good, bad=bad, greeting="hello", image=GOOD)
    assert world.data(namespace, "added") is None


def test_lost_and_something_is_removed_from_git_meanwhile(world: World, namespace: str) -> None:
    """The inventory is rebuilt from the marks on the objects: what was ours is pruned, what was not is left."""
    extra = {"base/extra.yaml": config_map("extra", {"a": "b"})}
    world.push(two_waves(world, namespace, "hello", GOOD, more=extra))
    world.once()
    world.kubectl("create", "configmap", "theirs", "-n", namespace)
    world.lose_state()
    mark = world.mark()
    commit = world.push({"base/extra.yaml": None})
    world.once()
    world.wait_good(commit)
    assert world.writes(mark) == [("delete", "configmaps", f"{namespace}/extra")]
    assert world.data(namespace, "theirs") == {}


def test_lost_while_quarantined(world: World, namespace: str) -> None:
    good = world.push(two_waves(world, namespace, "hello", GOOD))
    world.once()
    bad = world.push(two_waves(world, namespace, "bad day", BROKEN))
    world.once(code=1)
    world.lose_state()
    mark = world.mark()
    world.once(code=1)
    world.push({"README.md": "asks the same as the bad commit\n"})
    world.once(code=1)
    assert world.writes(mark) == []
    assert world.history() == []
    status = world.status()
    assert status["phase"] == "Held"
    assert (status["revision"]["good"], status["revision"]["quarantined"]) == (good, [bad])
    assert world.holds() == {"quarantined"}
    assert_still_works(world, namespace)


def test_a_finished_job_is_not_run_again(world: World, namespace: str) -> None:
    """It is gone by its time to live: only the parent knows that it ran."""
    more = {"base/migrate.yaml": job("migrate", ttl=1)}
    world.push(two_waves(world, namespace, "hello", GOOD, more=more))
    world.once()
    wait_until(lambda: world.get("job", "migrate", "-n", namespace) is None, "the Job is gone by its time to live")
    world.lose_state()
    mark = world.mark()
    world.once()
    assert world.writes(mark) == []
    assert world.phase() == "Synced"
    assert_still_works(world, namespace)
    assert "jobs" not in {resource for _, resource, _ in world.writes(mark)}


@pytest.mark.parametrize("image", [NEWER, STUCK])
def test_lost_after_a_kill_in_the_middle_of_a_run(world: World, namespace: str, keeper: Doorkeeper, image: str) -> None:
    """All of the new commit is live and nothing of it was gated: the next start gates it, and knows the way back."""
    good = world.push(two_waves(world, namespace, "hello", GOOD, keeper=keeper))
    world.once()
    keeper.shut()
    added = {"app/added.yaml": config_map("added", {"a": "b"})}
    newer = world.push(two_waves(world, namespace, "good day", image, keeper=keeper, timeout="8s", more=added))
    daemon = world.start()
    keeper.wait_asked()
    world.kill(daemon)
    world.lose_state()
    keeper.open()
    mark = world.mark()
    if image == NEWER:
        world.once()
        world.wait_good(newer)
        assert world.writes(mark) == []
        assert world.phase() == "Synced"
        return
    world.once(code=1)
    assert_rolled_back(world, namespace, good=good, bad=newer, greeting="hello", image=GOOD)
    assert world.data(namespace, "added") is None


def test_lost_together_with_the_history_of_the_repository(world: World, namespace: str) -> None:
    """The good commit is nowhere any more, but the new head asks the same: it is good, and nothing is written."""
    world.push(two_waves(world, namespace, "hello", GOOD))
    world.once()
    world.lose_state()
    head = rewrite_history(world)
    mark = world.mark()
    world.once()
    assert world.writes(mark) == []
    assert world.phase() == "Synced"
    bad = world.push(two_waves(world, namespace, "bad day", BROKEN))
    world.once(code=1)
    assert_rolled_back(world, namespace, good=head, bad=bad, greeting="hello", image=GOOD)
    assert_still_works(world, namespace)


def test_the_history_of_the_repository_alone_is_lost(world: World, namespace: str) -> None:
    """The mirror keeps the good commit, whatever the server does."""
    good = world.push(two_waves(world, namespace, "hello", GOOD))
    world.once()
    world.write(two_waves(world, namespace, "bad day", BROKEN))
    world.git("add", "-A")
    bad = rewrite_history(world)
    subprocess.run(["git", "gc", "-q", "--prune=now"], cwd=next((world.state_dir / "mirrors").iterdir()), check=True)
    world.once(code=1)
    assert_rolled_back(world, namespace, good=good, bad=bad, greeting="hello", image=GOOD)
