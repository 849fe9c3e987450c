"""Whose fault an error is, and where it stands: seen on the real program."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gitopsd.model.errors import Cause, CommitError, EnvironmentFault, NeedsPerson, Problem
from gitopsd.model.modules import ModuleApplied, ModuleFailure
from gitopsd.terraform.processes import running_in
from sandbox.terraform import PLATFORM
from tests.unit.terraform.bench import Bench

DATA = 'resource "terraform_data" "%s" {\n  input = %s\n}\n'


def commit_problem(bench: Bench, text: str, **more: Any) -> Problem:
    """The one problem that a plan of this code has, and that is the commit's."""
    with pytest.raises(CommitError) as refused:
        bench.terraform.plan(bench.module(text, **more))
    (problem,) = refused.value.problems
    return problem


def test_a_syntax_error_has_file_and_line(bench: Bench) -> None:
    problem = commit_problem(bench, "# a comment\n" + DATA % ("a", ""))
    assert (problem.file, problem.line, problem.unit) == ("infra/net/main.tf", 3, "terraform/net")
    assert "Invalid expression" in problem.message


def test_an_error_in_a_local_module_has_its_own_file(bench: Bench) -> None:
    files = {"modules/m/main.tf": "\n" + DATA % ("a", "var.nope")}
    problem = commit_problem(bench, 'module "m" {\n  source = "../../modules/m"\n}\n', files=files)
    assert (problem.file, problem.line) == ("modules/m/main.tf", 3)
    assert 'variable with the name "nope"' in problem.message


def test_an_error_in_a_variable_file_has_its_file(bench: Bench) -> None:
    problem = commit_problem(
        bench, 'variable "a" {}\n', files={"vars/x.tfvars": "\na = \n"}, var_files=("vars/x.tfvars",)
    )
    assert (problem.file, problem.line) == ("vars/x.tfvars", 2)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('variable "x" {\n  type = number\n}\n', 1, "No value for required variable"),
        (DATA % ("a", "var.nope"), 2, "undeclared input variable"),
        ('resource "terraform_data" "a" {\n  inputs = 1\n}\n', 2, "An argument named"),
        (DATA % ("a", 'file("nope.txt")'), 2, "no file exists"),
        ('terraform {\n  backend "wonder" {\n  }\n}\n', 2, "no backend type"),
        ('module "m" {\n  source = "./nothing"\n}\n', 1, "could not be read|Unreadable"),
        (
            DATA % ("b", "1") + 'resource "terraform_data" "a" {\n  lifecycle {\n    precondition {\n'
            '      condition     = terraform_data.b.input > 1\n      error_message = "too small"\n    }\n  }\n}\n',
            7,
            "too small",
        ),
        (
            'variable "v" {\n  default = 3\n  validation {\n    condition     = var.v > 5\n'
            '    error_message = "more than five, and no connection refused"\n  }\n}\n',
            1,
            "more than five",
        ),
    ],
)
def test_what_the_code_gets_wrong_is_the_commits(bench: Bench, text: str, line: int, words: str) -> None:
    with pytest.raises(CommitError, match=words) as refused:
        bench.terraform.plan(bench.module(text))
    places = {(p.file, p.line) for p in refused.value.problems if p.file}
    assert places == {("infra/net/main.tf", line)}


def test_code_for_another_version_is_the_commits(bench: Bench) -> None:
    if bench.terraform.version().startswith("tofu"):
        pytest.skip("OpenTofu passes over it")
    problem = commit_problem(bench, 'terraform {\n  required_version = ">= 9"\n}\n')
    assert (problem.file, problem.line) == ("infra/net/main.tf", 2)


def test_a_variable_of_the_wrong_type_is_the_commits(bench: Bench) -> None:
    with pytest.raises(CommitError, match=r"infra/net/main.tf:1: .*a number is required"):
        bench.terraform.plan(bench.module('variable "n" {\n  type = number\n}\n', {"n": "seven"}))


def test_a_variable_that_the_module_does_not_declare_is_the_stack_files_fault(bench: Bench) -> None:
    with pytest.raises(CommitError, match=r"gitopsd.yaml:7: .*varsFrom sets nope, .*does not declare"):
        bench.terraform.plan(bench.module(DATA % ("a", "1"), {"nope": "x"}))


def test_a_directory_that_the_commit_does_not_have_is_the_commits(bench: Bench) -> None:
    module = bench.module("", files={"infra/other/main.tf": DATA % ("a", "1")})
    with pytest.raises(CommitError, match="no such directory"):
        bench.terraform.plan(module)


def test_a_file_of_the_name_of_ours_is_refused(bench: Bench) -> None:
    with pytest.raises(CommitError, match=r"gitopsd_override\.tf\.json: this file name is gitopsd's own"):
        bench.terraform.plan(bench.module(DATA % ("a", "1"), files={"infra/net/gitopsd_override.tf.json": "{}"}))


def test_a_provider_that_the_registry_does_not_answer_for_is_the_environments(bench: Bench) -> None:
    config = bench.directory / "terraformrc"
    config.write_text('provider_installation {\n  network_mirror {\n    url = "https://127.0.0.1:9/"\n  }\n}\n')
    bench.changes["cli_config"] = config
    bench.restart()
    with pytest.raises(EnvironmentFault, match="hashicorp/random"):
        bench.terraform.plan(bench.module('resource "random_pet" "a" {\n}\n'))


def test_a_provider_that_the_mirror_has_not_yet_is_no_fault_of_the_commit(bench: Bench) -> None:
    config, mirror = bench.directory / "terraformrc", bench.directory / "mirror"
    mirror.mkdir()
    config.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
    bench.changes["cli_config"] = config
    bench.restart()
    with pytest.raises(EnvironmentFault, match=r"hashicorp/random"):
        bench.terraform.plan(bench.module('resource "random_pet" "a" {\n}\n'))


def test_a_missing_cli_configuration_is_named(bench: Bench) -> None:
    bench.changes["cli_config"] = bench.directory / "nothing"
    bench.restart()
    with pytest.raises(EnvironmentFault, match=r"nothing.*terraform\.cliConfig"):
        bench.terraform.plan(bench.module(DATA % ("a", "1")))


def test_a_missing_program_is_the_environments(bench: Bench) -> None:
    bench.changes["binary"] = "terraform-that-is-not-there"
    bench.restart()
    with pytest.raises(EnvironmentFault, match="no program 'terraform-that-is-not-there'"):
        bench.terraform.version()


def test_an_unreachable_backend_is_the_environments(bench: Bench) -> None:
    text = 'terraform {\n  backend "http" {\n    address   = "http://127.0.0.1:9/state"\n    retry_max = 0\n  }\n}\n'
    with pytest.raises(EnvironmentFault, match="connection refused"):
        bench.terraform.plan(bench.module(text + DATA % ("a", "1")))


def test_an_apply_that_fails_tells_what_it_made(bench: Bench) -> None:
    module = bench.module(
        DATA % ("a", "1")
        + 'resource "terraform_data" "b" {\n  depends_on = [terraform_data.a]\n'
        + '  provisioner "local-exec" {\n    command = "echo no >&2; exit 3"\n  }\n}\n'
    )
    failed = bench.apply(module, bench.terraform.plan(module))
    assert isinstance(failed, ModuleFailure)
    assert failed.cause is Cause.COMMIT
    assert "terraform_data.a" in failed.created
    assert "infra/net/main.tf:6: terraform/net" in failed.message
    assert "exit status 3" in failed.message
    plan = bench.terraform.plan(module, known=True)
    assert [(r.address, r.reason) for r in plan.resources] == [
        ("terraform_data.b", "its creation did not end well (tainted)")
    ]


def test_nothing_of_our_environment_reaches_the_program(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_VAR_x", "inherited")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "inherited")
    envs = bench.directory / "cloud.env"
    envs.write_text("# for the cloud\nexport CLOUD_REGION='north'\nCLOUD_ZONE=b\n\n")
    bench.changes |= {"env_files": (envs,), "env": {"CLOUD_ZONE": "a"}}
    bench.restart()
    seen = bench.directory / "seen"
    command = (
        f'resource "terraform_data" "a" {{\n  provisioner "local-exec" {{\n    command = "env > {seen}"\n  }}\n}}\n'
    )
    bench.deploy(
        bench.module('variable "x" {\n  default = "own"\n}\n' + command + 'output "x" {\n  value = var.x\n}\n')
    )
    got = dict(line.split("=", 1) for line in seen.read_text().splitlines())
    assert "inherited" not in got.values()
    assert (got["CLOUD_REGION"], got["CLOUD_ZONE"]) == ("north", "a")
    assert got["HOME"].startswith(str(bench.directory))
    assert Path(got["TMPDIR"]).stat().st_mode & 0o777 == 0o700
    assert got["TMPDIR"] != os.environ.get("TMPDIR")


def test_a_broken_line_of_an_environment_file_is_named_without_its_text(bench: Bench) -> None:
    envs = bench.directory / "cloud.env"
    envs.write_text("A=1\nhunter2secret\n")
    bench.changes["env_files"] = (envs,)
    bench.restart()
    with pytest.raises(EnvironmentFault, match=r"cloud.env:2: expected KEY=VALUE") as refused:
        bench.terraform.plan(bench.module(DATA % ("a", "1")))
    assert "hunter2secret" not in str(refused.value)


# ---------------------------------------------------------------- locks


HOLDER = """
import fcntl, json, sys
state = open(sys.argv[1], "r+")
fcntl.lockf(state, fcntl.LOCK_EX)
info = {"ID": "11112222", "Operation": "OperationTypeApply", "Info": "", "Who": sys.argv[3], "Version": "1.11.4",
        "Created": "2026-11-22T22:00:00.123456789Z", "Path": sys.argv[1]}
open(sys.argv[2], "w").write(json.dumps(info))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held(bench: Bench) -> Iterator[Bench]:
    """A local state that another process has locked."""
    bench.deploy(bench.module(DATA % ("a", "1")))
    info = bench.state_file.with_name(f".{bench.state_file.name}.lock.info")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(bench.state_file), str(info), "alice@laptop"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield bench
        process.kill()


def test_a_lock_of_another_names_its_owner_and_the_way_out(held: Bench) -> None:
    module = held.module(DATA % ("a", "2"))
    plan = held.terraform.plan(module)  # a plan takes no lock
    failed = held.apply(module, plan)
    assert isinstance(failed, ModuleFailure)
    assert failed.cause is Cause.ENVIRONMENT
    assert not failed.stale
    assert (
        "the state is locked by alice@laptop since 2026-11-22 22:00:00 UTC for apply (lock 11112222)" in failed.message
    )
    assert "`gitopsd unlock web net`" in failed.message


def test_a_lock_that_a_living_program_of_this_host_holds_cannot_be_removed(held: Bench) -> None:
    with pytest.raises(NeedsPerson, match=r"alice@laptop.*still runs"):
        held.terraform.unlock(held.module(DATA % ("a", "2")))


class StateServer(ThreadingHTTPServer):
    """Terraform's `http` backend: a state, and a lock that outlives whoever took it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _StateRequest)
        self.state = b""
        self.lock = b""
        self.refuses_states = False
        self.asked = threading.Event()
        self.answers = threading.Event()
        self.answers.set()

    @property
    def block(self) -> str:
        url = f"http://127.0.0.1:{self.server_address[1]}"
        return (
            f'terraform {{\n  backend "http" {{\n    address        = "{url}/state"\n'
            f'    lock_address   = "{url}/lock"\n    unlock_address = "{url}/lock"\n    retry_max      = 0\n  }}\n}}\n'
        )


class _StateRequest(BaseHTTPRequestHandler):
    server: StateServer

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.asked.set()
        self.server.answers.wait(60)
        self._answer(200 if self.server.state else 404, self.server.state)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refuses_states:
            self._answer(503, b"away")
            return
        self.server.state = body
        self._answer(200)

    def do_LOCK(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.lock:
            self._answer(423, self.server.lock)
            return
        self.server.lock = body
        self._answer(200)

    def do_UNLOCK(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.lock = b""
        self._answer(200)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def states() -> Iterator[StateServer]:
    with StateServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_state_that_could_not_be_written_comes_home_before_anything_is_planned(
    bench: Bench, states: StateServer
) -> None:
    module = bench.module(states.block + DATA % ("a", "1"))
    bench.deploy(module)
    changed = bench.module(states.block + DATA % ("a", "1") + DATA % ("b", "2"))
    plan = bench.terraform.plan(changed)
    states.refuses_states = True
    failed = bench.apply(changed, plan)
    assert isinstance(failed, ModuleFailure)
    assert failed.cause is Cause.ENVIRONMENT
    assert failed.created == ("terraform_data.b",)
    kept = bench.work / "errored.tfstate"
    assert kept.stat().st_mode & 0o777 == 0o600
    with pytest.raises(EnvironmentFault, match="writing the state that an interrupted apply left"):
        bench.terraform.plan(changed)
    states.refuses_states = False
    bench.restart()
    bench.terraform.settle("web", "net")
    assert not kept.exists()
    assert not states.lock
    assert not bench.terraform.plan(changed, known=True).changes_state


def test_close_ends_a_plan_that_waits_for_its_backend(bench: Bench, states: StateServer) -> None:
    bench.changes["patience"] = 0.5
    bench.restart()
    module = bench.module(states.block + DATA % ("a", "1"))
    bench.deploy(module)
    states.answers.clear()
    states.asked.clear()
    ended: list[BaseException] = []

    def plan() -> None:
        try:
            bench.terraform.plan(module)
        except EnvironmentFault as error:
            ended.append(error)

    thread = threading.Thread(target=plan)
    thread.start()
    assert states.asked.wait(20)
    bench.terraform.close()
    thread.join(20)
    states.answers.set()
    (error,) = ended
    assert "interrupted: gitopsd is stopping" in str(error)
    assert running_in(bench.work / "data") == ()
    assert list((bench.settings.runtime_dir / "terraform-plans").iterdir()) == []
    bench.restart()
    assert not bench.terraform.plan(module, known=True).changes_state


def lock_of(who: str, created: str) -> bytes:
    raw = {"ID": "aaaa-bbbb", "Operation": "OperationTypeApply", "Who": who, "Created": created, "Info": "", "Path": ""}
    return json.dumps(raw).encode()


def test_unlock_by_hand_removes_the_lock_of_a_lost_host(bench: Bench, states: StateServer) -> None:
    module = bench.module(states.block + DATA % ("a", "1"))
    bench.deploy(module)
    states.lock = lock_of("root@lost", "2026-11-22T22:00:00Z")
    with pytest.raises(NeedsPerson, match=r"locked by .*aaaa-bbbb.* by now"):
        bench.terraform.unlock(module, "another")
    assert states.lock
    removed = bench.terraform.unlock(module)
    assert removed.endswith("(lock aaaa-bbbb)")
    assert not states.lock
    with pytest.raises(NeedsPerson, match="not locked"):
        bench.terraform.unlock(module)
    assert isinstance(bench.apply(module, bench.terraform.plan(module)), ModuleApplied)


def test_a_lock_of_this_host_from_before_our_run_stays(bench: Bench, states: StateServer) -> None:
    module = bench.module(states.block + DATA % ("a", "1"))
    bench.deploy(module)
    states.lock = lock_of(f"root@{socket.gethostname()}", "2020-01-01T00:00:00Z")
    mark = {"operation": "apply", "started": "2026-01-01T00:00:00+00:00", "host": socket.gethostname(), "boot": "gone"}
    (bench.work / "running.json").write_text(json.dumps(mark))
    bench.terraform.settle("web", "net")
    assert states.lock
    assert not (bench.work / "running.json").exists()


def test_a_crash_of_a_provider_is_the_environments(bench: Bench, tmp_path: Path) -> None:
    for registry in ("registry.terraform.io", "registry.opentofu.org"):
        place = tmp_path / "mirror" / registry / "acme/broken/1.0.0" / PLATFORM
        place.mkdir(parents=True)
        provider = place / "terraform-provider-broken_v1.0.0"
        provider.write_text("#!/bin/sh\necho 'panic: oh no' >&2\nexit 2\n")
        provider.chmod(0o755)
    config = bench.directory / "terraformrc"
    mirror = tmp_path / "mirror"
    config.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
    bench.changes["cli_config"] = config
    bench.restart()
    text = 'terraform {\n  required_providers {\n    broken = {\n      source = "acme/broken"\n    }\n  }\n}\n'
    with pytest.raises(EnvironmentFault, match=r"(?i)plugin|provider"):
        bench.terraform.plan(bench.module(text + 'resource "broken_thing" "a" {\n}\n'))


def test_a_full_disk_is_the_environments(bench: Bench) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs to mount a small file system")
    small = bench.directory / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount")
    try:
        bench.changes["runtime_dir"] = small / "run"
        bench.restart()
        with (small / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        with pytest.raises(EnvironmentFault, match=r"saved plan was not written whole|no space left on device"):
            bench.terraform.plan(bench.module(DATA % ("a", "1")))
    finally:
        subprocess.run(["umount", str(small)], check=True)
