"""Real providers under both programs: drift and noise, secrets that they make, lock files, the shared cache."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from gitopsd.model.errors import CommitError, EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.modules import ModuleApplied, ModuleFailure, ModulePlan, ResourceAction
from gitopsd.model.ports import Module
from sandbox import tool
from sandbox.terraform import terraform_cli_config
from tests.unit.terraform.bench import Bench

ALL = """
resource "random_pet" "name" {
  keepers = {}
}
resource "random_password" "pw" {
  length      = 20
  min_lower   = 5
  special     = false
}
resource "local_file" "note" {
  filename = "%(note)s"
  content  = random_pet.name.id
}
resource "null_resource" "n" {
  triggers = { a = "" }
}
resource "tls_private_key" "key" {
  algorithm = "ED25519"
}
resource "time_static" "when" {
}
output "pet" {
  value = random_pet.name.id
}
output "key" {
  value     = tls_private_key.key.private_key_pem
  sensitive = true
}
"""

SLEEP = """
resource "random_pet" "first" {
}
resource "time_sleep" "long" {
  depends_on      = [random_pet.first]
  create_duration = "60s"
}
"""


@pytest.fixture(params=["terraform", "tofu"])
def bench(request: pytest.FixtureRequest, bench: Bench) -> Bench:
    """A host with the sandbox's providers, once with each program."""
    bench.changes["cli_config"] = terraform_cli_config()
    if request.param == "terraform" and shutil.which("terraform") is None:
        pytest.skip("needs terraform on PATH")
    if request.param == "tofu":
        bench.changes["binary"] = str(tool("tofu"))
    bench.restart()
    return bench


@pytest.fixture
def note(bench: Bench) -> Path:
    return bench.directory / "note.txt"


@pytest.fixture
def module(bench: Bench, note: Path) -> Module:
    return bench.module(ALL % {"note": note})


def test_the_version_names_the_program(bench: Bench) -> None:
    name, version = bench.terraform.version().split()
    assert name == ("tofu" if "tofu" in bench.settings.binary else "terraform")
    assert version[0].isdigit()


def test_what_was_just_applied_has_no_changes_and_no_drift(bench: Bench, module: Module) -> None:
    done = bench.deploy(module)
    assert len(done.created) == 6
    plan = bench.terraform.plan(module, known=True)
    assert (plan.resources, plan.output_changes, plan.drift, plan.changes_state) == ((), (), (), False)
    assert plan.tracked == 6
    assert dict(plan.outputs) | {"key": None} == dict(done.outputs) | {"key": None}
    sealed = plan.outputs["key"]
    assert sealed is not None
    assert sealed.digest == done.outputs["key"].digest


def test_a_file_deleted_behind_its_back_is_drift_and_comes_back(bench: Bench, module: Module, note: Path) -> None:
    done = bench.deploy(module)
    note.unlink()
    plan = bench.terraform.plan(module, known=True)
    assert [(r.address, r.action) for r in plan.drift] == [("local_file.note", ResourceAction.DESTROY)]
    assert [(r.address, r.action) for r in plan.resources] == [("local_file.note", ResourceAction.CREATE)]
    again = bench.apply(module, plan)
    assert isinstance(again, ModuleApplied)
    assert again.created == ("local_file.note",)
    assert note.read_text() == done.outputs["pet"].value


def test_secrets_that_providers_make_are_found_nowhere(bench: Bench, module: Module) -> None:
    plan = bench.terraform.plan(module)
    done = bench.apply(module, plan)
    assert isinstance(done, ModuleApplied)
    key = done.outputs["key"].value.reveal()
    assert "PRIVATE KEY" in key
    fails = 'resource "null_resource" "fails" {\n  provisioner "local-exec" {\n    command = "%s"\n  }\n}\n'
    more = replace(module, tree=bench.module(ALL % {"note": bench.directory / "note.txt"} + fails % "exit 1").tree)
    last = bench.terraform.plan(more, known=True)
    failed = bench.apply(more, last)
    assert isinstance(failed, ModuleFailure)
    bench.terraform.discard([plan, last])
    line = key.splitlines()[1]
    assert line not in repr((plan, done, last, failed, bench.progress))
    assert not any(line.encode() in text for text in bench.everything().values())


def test_sleep_is_interrupted_the_lock_released_and_the_rest_made_later(bench: Bench) -> None:
    module = bench.module(SLEEP)
    plan = bench.terraform.plan(module)
    failed = bench.terraform.apply(
        module, plan, progress=bench.progress.append, stop=lambda: "creating time_sleep.long" in bench.progress
    )
    assert isinstance(failed, ModuleFailure)
    assert failed.interrupted
    assert failed.created == ("random_pet.first",)
    again = bench.terraform.plan(module, known=True)
    assert "random_pet.first" not in {r.address for r in again.resources}
    short = bench.module(SLEEP.replace("60s", "10ms"))
    assert bench.deploy(short, known=True).tracked == 2


def test_the_lock_file_of_the_commit_is_kept_to(bench: Bench) -> None:
    text = 'resource "null_resource" "n" {\n}\n'
    bench.deploy(bench.module(text))
    good = (bench.work / "tree/infra/net/.terraform.lock.hcl").read_text()
    assert "hashicorp/null" in good
    locked = {"infra/net/.terraform.lock.hcl": good}
    bench.deploy(bench.module(text, files=locked))
    with pytest.raises(CommitError, match=r"(?s)lock.*terraform providers lock"):
        bench.terraform.plan(bench.module(text + 'resource "random_pet" "a" {\n}\n', files=locked))


def test_a_provider_that_a_mirror_lacks_may_come_and_a_version_that_there_is_not_is_the_commits(bench: Bench) -> None:
    text = 'terraform {\n  required_providers {\n    x = {\n      source = "acme/nowhere"\n    }\n  }\n}\n'
    with pytest.raises(EnvironmentFault, match="acme/nowhere"):
        bench.terraform.plan(bench.module(text))
    text = text.replace("acme/nowhere", "hashicorp/null").replace("x = {", 'null = {\n      version = "99.0.0"')
    with pytest.raises(CommitError, match=r"99\.0\.0"):
        bench.terraform.plan(bench.module(text))


def test_modules_share_their_providers_and_may_begin_at_once(bench: Bench) -> None:
    def module(name: str) -> Module:
        made = bench.module('resource "null_resource" "n" {\n}\nresource "random_pet" "p" {\n}\n')
        return replace(made, unit=replace(made.unit, id=UnitId.terraform(name), component=name))

    plans: list[ModulePlan] = []
    names = ["one", "two", "three"]
    threads = [threading.Thread(target=lambda n=n: plans.append(bench.terraform.plan(module(n)))) for n in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(plan.unit.name for plan in plans) == sorted(names)
    work = bench.work.parent
    places = {str(d.resolve()) for n in names for d in (work / n / "data/providers").glob("*/hashicorp/null/*/linux_*")}
    assert len(places) == 1
