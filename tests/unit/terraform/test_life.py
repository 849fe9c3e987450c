"""The life of a module, with the real program: made, changed, left alone, replaced, destroyed."""

from __future__ import annotations

import json

import pytest

from gitopsd.model.errors import NeedsPerson
from gitopsd.model.modules import Edit, FieldChange, ModuleApplied, ModuleFailure, ResourceAction
from gitopsd.model.sensitive import Sensitive
from tests.unit.terraform.bench import Bench

DATA = 'resource "terraform_data" "%s" {\n  input = %s\n}\n'
OUTPUT = 'output "%s" {\n  value = %s\n}\n'


def test_first_deploy_makes_everything_and_tells_outputs(bench: Bench) -> None:
    module = bench.module(DATA % ("a", '"one"') + OUTPUT % ("name", "terraform_data.a.output") + OUTPUT % ("n", "3"))
    plan = bench.terraform.plan(module)
    assert [(r.address, r.action) for r in plan.resources] == [("terraform_data.a", ResourceAction.CREATE)]
    assert plan.changes_state
    assert plan.tracked == 0
    assert plan.state.lineage == ""
    assert plan.outputs["name"] is None
    assert plan.outputs["n"] is not None
    assert plan.outputs["n"].value == 3
    done = bench.apply(module, plan)
    assert isinstance(done, ModuleApplied)
    assert done.created == ("terraform_data.a",)
    assert done.outputs["name"].value == "one"
    assert done.outputs["n"] == plan.outputs["n"]
    assert done.tracked == 1
    assert done.state.lineage
    assert "creating terraform_data.a" in bench.progress


def test_what_is_unchanged_is_no_change_and_outputs_are_known_before_apply(bench: Bench) -> None:
    module = bench.module(DATA % ("a", '"one"') + OUTPUT % ("name", "terraform_data.a.output"))
    done = bench.deploy(module)
    plan = bench.terraform.plan(module, known=True)
    assert not plan.changes_state
    assert plan.resources == ()
    assert plan.output_changes == ()
    assert plan.drift == ()
    assert plan.state == done.state
    assert plan.tracked == 1
    assert dict(plan.outputs) == dict(done.outputs)
    assert bench.terraform.outputs(module) == done.outputs


def test_update_shows_the_field(bench: Bench) -> None:
    bench.deploy(bench.module(DATA % ("a", '"one"')))
    module = bench.module(DATA % ("a", '"two"'))
    plan = bench.terraform.plan(module, known=True)
    (change,) = plan.resources
    assert change.action is ResourceAction.UPDATE
    assert FieldChange("input", Edit.REPLACE, "one", "two") in change.diff
    assert bench.deploy(module, known=True).created == ()


def test_an_apply_that_fails_half_way_tells_what_it_did_to_each_resource(bench: Bench) -> None:
    replaced = 'resource "terraform_data" "replaced" {\n  triggers_replace = %d\n}\n'
    bench.deploy(bench.module(DATA % ("changed", "1") + DATA % ("gone", "1") + replaced % 1))
    after = "depends_on = [terraform_data.changed, terraform_data.replaced, terraform_data.made]"
    broken = (
        f'resource "terraform_data" "broken" {{\n  {after}\n  provisioner "local-exec" {{ command = "exit 3" }}\n}}\n'
    )
    module = bench.module(DATA % ("changed", "2") + DATA % ("made", "1") + replaced % 2 + broken)
    failed = bench.apply(module, bench.terraform.plan(module, known=True))
    assert isinstance(failed, ModuleFailure)
    told = {(r.address.partition(".")[2], r.action.value, r.end.value) for r in failed.resources}
    assert told == {
        ("changed", "update", "done"),
        ("gone", "destroy", "done"),
        ("made", "create", "done"),
        ("replaced", "replace", "done"),
        ("broken", "create", "failed"),
    }
    assert any(text.startswith("created terraform_data.made (") for text in bench.progress)
    gone = bench.deploy(module, destroy=True).resources
    assert {(r.action.value, r.end.value) for r in gone} == {("destroy", "done")}


def test_replacement_names_what_forces_it_and_counts_as_created(bench: Bench) -> None:
    text = 'resource "terraform_data" "a" {\n  triggers_replace = %d\n}\n'
    bench.deploy(bench.module(text % 1))
    module = bench.module(text % 2)
    plan = bench.terraform.plan(module, known=True)
    (change,) = plan.resources
    assert change.action is ResourceAction.REPLACE
    assert change.reason == "it cannot be updated in place: triggers_replace"
    assert bench.deploy(module, known=True).created == ("terraform_data.a",)


def test_destroy_of_what_left_the_code_and_of_everything(bench: Bench) -> None:
    bench.deploy(bench.module(DATA % ("a", "1") + DATA % ("b", "2")))
    module = bench.module(DATA % ("a", "1"))
    plan = bench.terraform.plan(module, known=True)
    assert [(r.address, r.action, r.reason) for r in plan.resources] == [
        ("terraform_data.b", ResourceAction.DESTROY, "no longer in the code")
    ]
    bench.deploy(module, known=True)
    gone = bench.terraform.plan(module, destroy=True, known=True)
    assert [(r.address, r.action) for r in gone.resources] == [("terraform_data.a", ResourceAction.DESTROY)]
    done = bench.apply(module, gone)
    assert isinstance(done, ModuleApplied)
    assert done.tracked == 0
    assert dict(done.outputs) == {}


def test_moved_resources_stay(bench: Bench) -> None:
    bench.deploy(bench.module(DATA % ("a", "1")))
    text = DATA % ("b", "1") + "moved {\n  from = terraform_data.a\n  to = terraform_data.b\n}\n"
    plan = bench.terraform.plan(bench.module(text), known=True)
    (change,) = plan.resources
    assert (change.action, change.address, change.previous) == (
        ResourceAction.MOVE,
        "terraform_data.b",
        "terraform_data.a",
    )
    assert plan.changes_state


def test_variables_come_from_files_and_from_other_components(bench: Bench) -> None:
    text = 'variable "a" {}\nvariable "b" {\n  type = object({ names = list(string) })\n}\n'
    text += OUTPUT % ("all", '"${var.a} ${join(",", var.b.names)}"')
    module = bench.module(
        text,
        {"b": {"names": ["x", "${y}", "%{z}"]}},
        files={"vars/prod.tfvars": 'a = "from the file"\n'},
        var_files=("vars/prod.tfvars",),
    )
    assert bench.deploy(module).outputs["all"].value == "from the file x,${y},%{z}"


def test_local_modules_are_read_and_workspaces_are_apart(bench: Bench) -> None:
    text = 'module "m" {\n  source = "../../modules/m"\n}\n' + OUTPUT % ("w", "module.m.workspace")
    files = {"modules/m/main.tf": OUTPUT % ("workspace", "terraform.workspace")}
    blue = bench.module(text, files=files, workspace="blue")
    done = bench.deploy(blue)
    assert done.outputs["w"].value == "blue"
    green = bench.module(text, files=files, workspace="green")
    assert bench.deploy(green).state.lineage != done.state.lineage
    assert bench.terraform.plan(blue, known=True).state == done.state


def test_a_plan_needs_no_init_if_nothing_that_it_depends_on_changed(bench: Bench) -> None:
    text = OUTPUT % ("t", 'file("${path.module}/note.txt")')
    bench.deploy(bench.module(text, files={"infra/net/note.txt": "one"}))
    stamp = bench.work / "data" / "gitopsd-init"
    before = stamp.stat().st_mtime_ns
    assert bench.deploy(bench.module(text, files={"infra/net/note.txt": "two"})).outputs["t"].value == "two"
    assert stamp.stat().st_mtime_ns == before
    bench.deploy(bench.module(text + OUTPUT % ("u", "1"), files={"infra/net/note.txt": "two"}))
    assert stamp.stat().st_mtime_ns != before


def test_nothing_stale_remains_of_another_commit(bench: Bench) -> None:
    bench.deploy(bench.module(OUTPUT % ("a", "1"), files={"infra/net/more.tf": OUTPUT % ("b", "2")}))
    assert set(bench.deploy(bench.module(OUTPUT % ("a", "1"))).outputs) == {"a"}


def test_a_state_that_is_gone_asks_a_person_and_names_its_copy(bench: Bench) -> None:
    module = bench.module(DATA % ("a", "1"))
    bench.deploy(module)
    bench.deploy(bench.module(DATA % ("a", "2")))
    bench.state_file.unlink()
    with pytest.raises(NeedsPerson) as gone:
        bench.terraform.plan(module, known=True)
    assert str(bench.state_file) in str(gone.value)
    assert "backups/net/" in str(gone.value)
    assert "`gitopsd abandon web net`" in str(gone.value)
    assert bench.terraform.plan(module).resources[0].action is ResourceAction.CREATE


def test_a_workspace_that_is_gone_asks_a_person(bench: Bench) -> None:
    with pytest.raises(NeedsPerson, match="is gone"):
        bench.terraform.plan(bench.module(DATA % ("a", "1"), workspace="blue"), known=True)


def test_a_module_that_was_emptied_on_purpose_may_grow_again(bench: Bench) -> None:
    bench.deploy(bench.module(DATA % ("a", "1")))
    bench.deploy(bench.module(" "), known=True)
    assert bench.deploy(bench.module(DATA % ("a", "1")), known=True).created == ("terraform_data.a",)


def test_local_states_are_private_and_ten_copies_are_kept(bench: Bench) -> None:
    for number in range(13):
        bench.deploy(bench.module(DATA % ("a", number)))
    assert bench.state_file.stat().st_mode & 0o777 == 0o600
    assert bench.state_file.parent.stat().st_mode & 0o777 == 0o700
    copies = sorted((bench.state_file.parent / "backups" / "net").iterdir())
    assert len(copies) == 10
    assert {copy.stat().st_mode & 0o777 for copy in copies} == {0o600}
    assert '"value": 11' in copies[-1].read_text()


def test_a_module_with_a_backend_of_its_own_keeps_it(bench: Bench) -> None:
    own = bench.directory / "own.tfstate"
    text = f'terraform {{\n  backend "local" {{\n    path = "{own}"\n  }}\n}}\n' + DATA % ("a", "1")
    bench.deploy(bench.module(text))
    assert json.loads(own.read_text())["resources"]
    assert not bench.state_file.exists()


def test_a_plan_is_stale_once_the_state_moved_and_does_nothing(bench: Bench) -> None:
    bench.deploy(bench.module(DATA % ("a", "1")))
    module = bench.module(DATA % ("a", "2"))
    plan = bench.terraform.plan(module)
    other = bench.deploy(bench.module(DATA % ("a", "3")))
    failed = bench.apply(module, plan)
    assert isinstance(failed, ModuleFailure)
    assert failed.stale
    assert not failed.interrupted
    assert bench.terraform.plan(module).state == other.state


def test_a_plan_for_no_state_is_stale_once_there_is_one(bench: Bench) -> None:
    module = bench.module(DATA % ("a", "1"))
    plan = bench.terraform.plan(module)
    bench.deploy(bench.module(DATA % ("b", "1")))
    failed = bench.apply(module, plan)
    assert isinstance(failed, ModuleFailure)
    assert failed.stale


def test_only_the_saved_plan_is_applied(bench: Bench) -> None:
    module = bench.module(DATA % ("a", "1"))
    plan = bench.terraform.plan(module)
    bench.terraform.discard([plan])
    bench.terraform.discard([plan])
    failed = bench.apply(module, plan)
    assert isinstance(failed, ModuleFailure)
    assert failed.stale
    assert not bench.state_file.exists()


def test_saved_plans_of_processes_that_are_gone_are_removed_at_the_start(bench: Bench) -> None:
    plan = bench.terraform.plan(bench.module(DATA % ("a", "1")))
    directory = bench.settings.runtime_dir / "terraform-plans"
    dead = directory / "1-1-00000000-0000-0000-0000-000000000000-0123456789abcdef.tfplan"
    dead.write_text("secrets")
    bench.restart()
    assert [file.name for file in directory.iterdir()] == [plan.saved]
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_sensitive_output_is_told_by_its_digest_alone(bench: Bench) -> None:
    text = 'variable "pw" {\n  sensitive = true\n}\noutput "pw" {\n  value = var.pw\n  sensitive = true\n}\n'
    module = bench.module(text, {"pw": Sensitive("hunter2secret")})
    plan = bench.terraform.plan(module)
    planned = plan.outputs["pw"]
    assert planned is not None
    assert planned.sensitive
    assert planned.value is None
    done = bench.apply(module, plan)
    assert isinstance(done, ModuleApplied)
    assert done.outputs["pw"].value == Sensitive("hunter2secret")
    assert done.outputs["pw"].digest == planned.digest
    assert "hunter2secret" not in repr((plan, done))


def test_a_check_that_does_not_hold_is_a_warning_told_once(bench: Bench) -> None:
    check = (
        'check "size" {\n  assert {\n    condition     = terraform_data.a.input < 1\n'
        '    error_message = "too big"\n  }\n}\n'
    )
    plan = bench.terraform.plan(bench.module(DATA % ("a", "1") + check))
    (warning,) = plan.warnings
    assert warning.startswith("infra/net/main.tf:")
    assert "too big" in warning


def test_the_place_of_a_forgotten_component_is_removed_and_no_other(bench: Bench) -> None:
    module = bench.module(DATA % ("a", "1"))
    bench.deploy(module)
    bench.terraform.clear_out("web", {"net"})
    assert (bench.work / "tree").is_dir()
    bench.terraform.clear_out("another", ())
    assert (bench.work / "tree").is_dir()
    bench.terraform.clear_out("web", {"other"})
    assert list(bench.work.parent.iterdir()) == []
    assert bench.state_file.exists(), "the state is not ours to remove"
    assert not bench.terraform.plan(module, known=True).changes_state


@pytest.mark.parametrize("file", ["errored.tfstate", "running.json", "crashed.json", "tree/infra/net/errored.tfstate"])
def test_a_place_with_something_in_it_that_is_needed_stays(bench: Bench, file: str) -> None:
    bench.deploy(bench.module(DATA % ("a", "1")))
    (bench.work / file).write_text("{}")
    bench.terraform.clear_out("web", ())
    assert (bench.work / file.rpartition("/")[2]).exists()


def test_a_removal_that_was_cut_off_is_finished(bench: Bench) -> None:
    bench.deploy(bench.module(DATA % ("a", "1")))
    bench.work.rename(bench.work.with_name(".removed-net"))
    bench.deploy(bench.module(DATA % ("a", "2")))
    bench.terraform.clear_out("web", {"net"})
    assert [place.name for place in bench.work.parent.iterdir()] == ["net"]
