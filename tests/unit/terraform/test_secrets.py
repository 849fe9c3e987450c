"""A sensitive value is found nowhere: no text, no file but Terraform's own state, no argument of a process."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from gitopsd.model.codec import to_plain
from gitopsd.model.errors import CommitError
from gitopsd.model.modules import ModuleApplied, ModuleFailure
from gitopsd.model.sensitive import Sensitive
from tests.unit.terraform.bench import Bench

SECRET = "correct-horse<battery>"
NUMBER = 73519462

CODE = """
variable "pw" {
  type      = string
  sensitive = true
}
variable "more" {
  type      = object({ pin = number, list = list(string) })
  sensitive = true
}
resource "terraform_data" "a" {
  input = { p = var.pw, json = jsonencode({ inner = var.pw, pin = var.more.pin }), plain = "seen" }
}
resource "terraform_data" "copy" {
  input = terraform_data.a.output.json
}
output "pw" {
  value     = var.pw
  sensitive = true
}
output "lost_its_mark" {
  value = terraform_data.a.output.p
}
"""

FAILS = """
resource "terraform_data" "b" {
  depends_on = [terraform_data.a]
  provisioner "local-exec" {
    command = "echo %s >&2; exit 1"
  }
}
"""


def tells(value: object) -> bool:
    """Whether a value, or anything that is made of it, has the secret in it."""
    text = f"{value!r} {value}"
    return any(part in text for part in ("correct-horse", "73519462", "list-item-one"))


@pytest.fixture
def variables() -> dict[str, object]:
    return {"pw": Sensitive(SECRET), "more": Sensitive({"pin": NUMBER, "list": ["list-item-one"]})}


def test_a_sensitive_value_is_found_nowhere(
    bench: Bench, variables: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    module = bench.module(CODE, variables)
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(file.read_bytes().decode(errors="replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        plan = bench.terraform.plan(module)
        during = {file: text for file, text in bench.everything().items() if b"correct-horse" in text}
        done = bench.apply(module, plan)
        again = bench.terraform.plan(module, known=True)
    finally:
        over.set()
        watcher.join()
    assert isinstance(done, ModuleApplied)
    assert not again.changes_state
    assert done.outputs["lost_its_mark"].value == Sensitive(SECRET)
    for told in (plan, again, done, to_plain(plan), bench.progress, module, caplog.text, sorted(seen)):
        assert not tells(told)
    assert any(b"terraform" in text.encode() and "apply" in text for text in seen), "the watcher has to see commands"
    assert all(file.parent == bench.settings.runtime_dir / "terraform-plans" for file in during)
    bench.terraform.discard([plan, again])
    assert not any(tells(text.decode(errors="replace")) for text in bench.everything().values())
    assert SECRET.encode().split(b"<", maxsplit=1)[0] in bench.state_file.read_bytes(), "the state is the exception"


def test_fields_are_masked_wherever_the_value_stands(bench: Bench, variables: dict[str, object]) -> None:
    plan = bench.terraform.plan(bench.module(CODE, variables))
    fields = {field.path: field for resource in plan.resources for field in resource.diff}
    assert fields["input.p"].masked
    assert fields["input.json"].masked
    assert (fields["input.plain"].masked, fields["input.plain"].after) == (False, "seen")
    bench.deploy(bench.module(CODE, variables))
    changed = {**variables, "pw": Sensitive("another-secret")}
    plan = bench.terraform.plan(bench.module(CODE, changed), known=True)
    masked = [field for resource in plan.resources for field in resource.diff if field.masked]
    assert {field.path for field in masked} >= {"input.p", "input.json", "output"}
    assert not tells(plan)
    assert "another-secret" not in repr(plan)


def test_errors_do_not_quote_it(bench: Bench, variables: dict[str, object]) -> None:
    module = bench.module(CODE + FAILS % f"'{SECRET}'", variables)
    failed = bench.apply(module, bench.terraform.plan(module))
    assert isinstance(failed, ModuleFailure)
    assert "(sensitive)" in failed.message
    assert not tells(failed)


def test_errors_do_not_quote_what_only_the_state_knows(bench: Bench, variables: dict[str, object]) -> None:
    bench.deploy(bench.module(CODE, variables))
    bench.restart()  # a new process has seen no plan yet
    text = 'resource "terraform_data" "c" {\n  lifecycle {\n    precondition {\n'
    text += f'      condition     = terraform_data.a.id == ""\n      error_message = "not {SECRET}"\n    }}\n  }}\n}}\n'
    given = {"pw": Sensitive("changed since"), "more": variables["more"]}
    with pytest.raises(CommitError) as refused:
        bench.terraform.plan(bench.module(CODE + text, given))
    assert not tells(refused.value)
    assert "not (sensitive)" in str(refused.value)


def test_a_wrong_sensitive_variable_is_refused_without_its_value(bench: Bench) -> None:
    text = 'variable "pw" {\n  type = number\n}\n'
    with pytest.raises(CommitError) as refused:
        bench.terraform.plan(bench.module(text, {"pw": Sensitive(SECRET)}))
    assert not tells(refused.value)


def test_credentials_of_the_host_are_in_no_error(bench: Bench) -> None:
    bench.changes["env"] = {"CLOUD_TOKEN": SECRET}
    bench.restart()
    fails = '  provisioner "local-exec" {\n    command = "echo $CLOUD_TOKEN >&2; exit 1"\n  }\n'
    module = bench.module(f'resource "terraform_data" "b" {{\n{fails}}}\n')
    failed = bench.apply(module, bench.terraform.plan(module))
    assert isinstance(failed, ModuleFailure)
    assert not tells(failed)
    assert not tells(bench.settings)
