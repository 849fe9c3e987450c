"""The copies of states that gitopsd keeps: sealed wherever there is a key, of any backend, and opened again."""

from __future__ import annotations

import base64
import errno
import gzip
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from gitopsd.cli.main import main
from gitopsd.clock import SystemClock
from gitopsd.model.errors import EnvironmentFault, NeedsPerson
from gitopsd.model.memory import Memory
from gitopsd.model.modules import ModuleApplied, ModuleFailure
from gitopsd.model.sensitive import Sensitive
from gitopsd.record import open_record
from gitopsd.sealing.keyring import Keyring
from gitopsd.terraform.copyfile import CopyHeader, read_header
from gitopsd.terraform_host import sealing_key
from tests.support.seals import bring_key, fingerprint_of, take_key
from tests.unit.terraform.bench import Bench
from tests.unit.terraform.test_faults import StateServer

MARKER = "marker-of-a-secret"
DATA = 'resource "terraform_data" "%s" {\n  input = %s\n}\n'
SECRET = 'variable "pw" {\n  sensitive = true\n}\n' + DATA % ("secret", "var.pw")
FAILS = """
resource "terraform_data" "fails" {
  depends_on = [terraform_data.a]
  provisioner "local-exec" {
    command = "exit 1"
  }
}
"""


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A key directory without keys."""
    directory = tmp_path / "keys"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def host(bench: Bench, keys: Path) -> Bench:
    """A host that asks its key directory before each copy."""
    bench.changes["sealing_key"] = partial(sealing_key, Keyring(keys))
    bench.restart()
    return bench


@pytest.fixture
def sealing(host: Bench, keys: Path) -> Bench:
    """One with a key."""
    bring_key(keys)
    return host


def place(bench: Bench) -> Path:
    return bench.state_file.parent / "copies" / "web" / "net"


def copies(bench: Bench) -> list[Path]:
    return sorted(place(bench).iterdir()) if place(bench).is_dir() else []


def header(file: Path) -> CopyHeader:
    return read_header(file.read_bytes().partition(b"\n")[0])


def serials(bench: Bench) -> list[int]:
    return [header(file).state.serial for file in copies(bench)]


class Person:
    """Somebody at the command line of this host."""

    def __init__(self, bench: Bench, keys: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.keys, self.capture = keys, capture
        self.config = bench.directory / "config.yaml"
        self.config.write_text(f"stateDir: {bench.settings.state_dir}\nsocket: {bench.settings.runtime_dir}/s.sock\n")

    def state(self, *arguments: str) -> tuple[int, str, str]:
        code = main(["--config", str(self.config), "state", *arguments, "--key-dir", str(self.keys)])
        said = self.capture.readouterr()
        return code, said.out, said.err

    def listed(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        found, out, err = self.state("list", *arguments, "--json")
        assert found == code, err
        listed: list[dict[str, Any]] = json.loads(out)["copies"]
        return listed


@pytest.fixture
def person(bench: Bench, keys: Path, capsys: pytest.CaptureFixture[str]) -> Person:
    return Person(bench, keys, capsys)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as found:
        yield found


def tells(directory: Path, but: Path) -> list[Path]:
    """Files with the marker in them in any dress."""
    wanted = [MARKER.encode(), *(base64.b64encode(b"x" * n + MARKER.encode())[4:-4] for n in range(3))]
    found = []
    for file in directory.rglob("*"):
        if not file.is_file() or file.is_symlink() or file == but:
            continue
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content += gzip.decompress(content)
        if any(w in content for w in wanted):
            found.append(file)
    return found


# ---------------------------------------------------------------- whose copies


def test_a_stack_or_component_that_nobody_knows_is_told_with_those_that_are_known(
    sealing: Bench, person: Person
) -> None:
    sealing.deploy(sealing.module(SECRET + DATA % ("a", 1), {"pw": Sensitive(MARKER)}))
    (kept,) = {(copy["stack"], copy["component"]) for copy in person.listed()}
    for arguments, said in (
        (["nosuch"], f"there is no stack 'nosuch' (there is {kept[0]})"),
        ([kept[0], "nosuch"], f"there is no Terraform component of {kept[0]} 'nosuch' (there is {kept[1]})"),
    ):
        code, out, err = person.state("list", *arguments)
        assert (code, out, err) == (64, "", f"gitopsd: {said}\n")
    assert len(person.listed(*kept)) == 1


def test_a_stack_on_record_without_copies_has_none(bench: Bench, person: Person) -> None:
    with open_record(bench.settings.state_dir, SystemClock()) as record:
        record.save_memory(Memory("web", "here", "main"))
    assert person.listed("web") == []
    code, _, err = person.state("list", "wep")
    assert (code, "did you mean web?" in err) == (64, True)


# ---------------------------------------------------------------- what is kept


def test_a_state_stands_in_the_clear_in_terraforms_own_file_alone(sealing: Bench, person: Person) -> None:
    for size in (1, 2):
        sealing.deploy(sealing.module(SECRET + DATA % ("a", size), {"pw": Sensitive(MARKER)}))
    assert MARKER.encode() in sealing.state_file.read_bytes()
    assert tells(sealing.directory, but=sealing.state_file) == []
    assert len(copies(sealing)) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in copies(sealing)} == {0o600}
    assert {stat.S_IMODE(p.stat().st_mode) for p in (place(sealing), sealing.state_file.parent)} == {0o700}
    newest = header(copies(sealing)[-1])
    state = json.loads(sealing.state_file.read_text())
    assert (newest.state.lineage, newest.state.serial) == (state["lineage"], state["serial"])
    assert (newest.stack, newest.component, newest.state_key, newest.workspace) == ("web", "net", "net", "default")
    assert newest.fingerprint == fingerprint_of()
    out = sealing.directory / "out.tfstate"
    assert person.state("restore", "web", "net", "--out", str(out))[0] == 0
    assert out.read_bytes().strip() == sealing.state_file.read_bytes().strip(), "`state pull` adds a line end"


def test_a_module_with_a_backend_of_its_own_is_copied_after_each_apply_and_after_its_destruction(
    sealing: Bench,
) -> None:
    own = sealing.directory / "own.tfstate"
    text = f'terraform {{\n  backend "local" {{\n    path = "{own}"\n  }}\n}}\n'
    sealing.deploy(sealing.module(text + DATA % ("a", 1)))
    module = sealing.module(text + DATA % ("a", 2))
    sealing.deploy(module)
    sealing.deploy(module, destroy=True)
    assert [header(file).state_key for file in copies(sealing)] == ["", "", ""]
    assert serials(sealing) == sorted(serials(sealing))
    assert serials(sealing)[-1] == json.loads(own.read_text())["serial"]


def test_half_an_apply_is_copied_too(sealing: Bench, person: Person) -> None:
    module = sealing.module(DATA % ("a", 1) + FAILS)
    failed = sealing.apply(module, sealing.terraform.plan(module))
    assert isinstance(failed, ModuleFailure)
    assert "copy" not in failed.message
    out = sealing.directory / "out.tfstate"
    assert person.state("restore", "web", "net", "--out", str(out))[0] == 0
    assert {r["name"] for r in json.loads(out.read_text())["resources"]} == {"a", "fails"}


def test_a_state_that_the_backend_did_not_take_is_copied_as_it_would_have_been(sealing: Bench, person: Person) -> None:
    with StateServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            sealing.deploy(sealing.module(server.block + DATA % ("a", 1)))
            module = sealing.module(server.block + DATA % ("a", 1) + DATA % ("b", 2))
            plan = sealing.terraform.plan(module)
            server.refuses_states = True
            failed = sealing.apply(module, plan)
        finally:
            server.shutdown()
            thread.join()
    assert isinstance(failed, ModuleFailure)
    out = sealing.directory / "out.tfstate"
    assert person.state("restore", "web", "net", "--out", str(out))[0] == 0
    assert out.read_bytes() == (sealing.work / "errored.tfstate").read_bytes()


def test_the_newest_ten_stay_and_what_did_not_change_is_not_copied(sealing: Bench) -> None:
    for number in range(12):
        sealing.deploy(sealing.module(DATA % ("a", number)))
    assert len(copies(sealing)) == 10
    before = copies(sealing)
    sealing.deploy(sealing.module(DATA % ("a", 11)), known=True)
    assert copies(sealing) == before


def test_a_local_state_that_was_edited_by_hand_is_kept_before_it_is_overwritten(sealing: Bench, person: Person) -> None:
    sealing.deploy(sealing.module(DATA % ("a", 1)))
    edited = sealing.state_file.read_text().replace('"value": 1', '"value": 77')
    sealing.state_file.write_text(edited)
    sealing.deploy(sealing.module(DATA % ("a", 2)))
    assert len(copies(sealing)) == 3
    assert serials(sealing)[0] == serials(sealing)[1]
    out = sealing.directory / "out.tfstate"
    assert person.state("restore", "web", "net", "--serial", str(serials(sealing)[1]), "--out", str(out))[0] == 0
    assert out.read_text() == edited


def test_a_clock_that_was_set_back_does_not_make_the_new_copy_the_first_to_go(sealing: Bench) -> None:
    sealing.deploy(sealing.module(DATA % ("a", 1)))
    (file,) = copies(sealing)
    content = file.read_bytes().replace(f'"at": "{header(file).at:%Y}'.encode(), b'"at": "2999')
    file.unlink()
    (place(sealing) / "29990101T000000.000000Z-serial1.sealed").write_bytes(content)
    sealing.deploy(sealing.module(DATA % ("a", 2)))
    assert serials(sealing) == sorted(serials(sealing))


def test_after_a_kill_the_copy_is_made_up_for(sealing: Bench) -> None:
    """Of an apply whose end we did not see: all that we know then is the note that it was begun."""
    module = sealing.module(DATA % ("a", 1))
    sealing.deploy(module)
    shutil.rmtree(place(sealing))
    (sealing.work / "copy-owed").touch()
    sealing.restart()
    assert not sealing.terraform.plan(module, known=True).changes_state
    assert len(copies(sealing)) == 1
    assert not (sealing.work / "copy-owed").exists()


# ---------------------------------------------------------------- keys


def test_without_a_key_local_states_are_backed_up_in_the_clear_and_one_line_says_why(
    host: Bench, logged: list[Any]
) -> None:
    for number in (1, 2, 3):
        host.deploy(host.module(DATA % ("a", number)))
    assert copies(host) == []
    assert len(list((host.state_file.parent / "backups" / "net").iterdir())) == 2
    (line,) = [entry for entry in logged if "copies" in entry["event"]]
    assert line["why"] == "there is no sealing keypair"
    assert not (host.work / "copy-owed").exists()


def test_backups_in_the_clear_are_sealed_as_soon_as_there_is_a_key(host: Bench, keys: Path, person: Person) -> None:
    for number in (1, 2, 3):
        host.deploy(host.module(DATA % ("a", number)))
    backups = host.state_file.parent / "backups" / "net"
    clear = {json.loads(file.read_text())["serial"]: file.read_bytes() for file in backups.iterdir()}
    bring_key(keys)
    host.terraform.plan(host.module(DATA % ("a", 3)), known=True)
    assert list(backups.iterdir()) == []
    assert not host.state_file.with_name("net.tfstate.backup").exists()
    assert serials(host) == sorted([*clear, max(clear)]), "and Terraform's own, which is the same as the newest"
    for serial, content in clear.items():
        out = host.directory / f"out-{serial}"
        assert person.state("restore", "web", "net", "--serial", str(serial), "--out", str(out))[0] == 0
        assert out.read_bytes() == content


def test_backups_of_components_that_are_gone_are_sealed_too(host: Bench, keys: Path, person: Person) -> None:
    for number in (1, 2):
        host.deploy(host.module(DATA % ("a", number), workspace="blue"))
    bring_key(keys)
    host.terraform.clear_out("another", ())
    assert list((host.state_file.parent / "backups").rglob("*.tfstate")) == []
    (copy,) = person.listed()
    assert (copy["stack"], copy["component"], copy["stateKey"], copy["workspace"]) == ("-", "net.blue", "net", "blue")
    assert copy["opens"]
    out = host.directory / "out.tfstate"
    assert person.state("restore", "-", "net.blue", "--out", str(out))[0] == 0
    shutil.rmtree(host.state_file.parent / "net.d")
    with pytest.raises(NeedsPerson, match=r"`gitopsd state restore - net\.blue --serial"):
        host.terraform.plan(host.module(DATA % ("a", 2), workspace="blue"), known=True)


def test_who_plans_beside_the_daemon_seals_nothing(host: Bench, keys: Path) -> None:
    for number in (1, 2):
        host.deploy(host.module(DATA % ("a", number)))
    bring_key(keys)
    host.changes["scratch"] = host.directory / "scratch"
    host.restart()
    host.terraform.plan(host.module(DATA % ("a", 2)), known=True)
    assert (host.state_file.parent / "backups" / "net").is_dir()
    assert copies(host) == []


def test_a_newer_key_is_used_at_once_and_the_same_state_is_sealed_for_it(sealing: Bench, keys: Path) -> None:
    sealing.deploy(sealing.module(DATA % ("a", 1)))
    bring_key(keys, 1)
    sealing.deploy(sealing.module(DATA % ("a", 2)))
    assert [header(file).fingerprint for file in copies(sealing)] == [
        fingerprint_of(0),
        fingerprint_of(1),
        fingerprint_of(1),
    ]


def test_keys_that_cannot_be_used_are_no_reason_to_write_in_the_clear(sealing: Bench, keys: Path) -> None:
    sealing.deploy(sealing.module(DATA % ("a", 1)))
    (keys / "key0.key").chmod(0o644)
    module = sealing.module(DATA % ("a", 2))
    plan = sealing.terraform.plan(module)
    with pytest.raises(EnvironmentFault, match="nothing is applied without") as refused:
        sealing.apply(module, plan)
    assert "chmod 600" in str(refused.value)
    assert not (sealing.state_file.parent / "backups").exists()
    assert '"value": 1' in sealing.state_file.read_text()


# ---------------------------------------------------------------- what cannot be written


def test_without_a_backup_of_a_local_state_nothing_is_applied(sealing: Bench, keys: Path) -> None:
    sealing.deploy(sealing.module(DATA % ("a", 1)))
    bring_key(keys, 1)
    shutil.rmtree(place(sealing))
    place(sealing).write_text("in the way")
    module = sealing.module(DATA % ("a", 2))
    plan = sealing.terraform.plan(module)
    with pytest.raises(EnvironmentFault, match="nothing is applied without"):
        sealing.apply(module, plan)
    assert '"value": 1' in sealing.state_file.read_text()


def test_a_copy_that_cannot_be_written_afterwards_is_a_warning_and_made_up_for(
    sealing: Bench, logged: list[Any]
) -> None:
    place(sealing).parent.mkdir(parents=True)
    place(sealing).write_text("in the way")
    done = sealing.deploy(sealing.module(DATA % ("a", 1)))
    (warning,) = done.warnings
    assert warning == "terraform/net: no copy of its state is kept: File exists"
    assert [entry["log_level"] for entry in logged if entry["event"] == "no copy of a state"] == ["warning"]
    module = sealing.module(DATA % ("a", 1) + FAILS)
    place(sealing).unlink()
    place(sealing).mkdir()
    sealing.terraform.plan(module)
    assert len(copies(sealing)) == 1


def full_in(directory: Path) -> Callable[[Path, Path], None]:
    """A disk that is full when a file of this directory is to get its name."""
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).parent == directory:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    return replace


def test_half_a_file_is_never_a_copy(sealing: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sealing.deploy(sealing.module(DATA % ("a", 1)))
    module = sealing.module(DATA % ("a", 2))
    plan = sealing.terraform.plan(module)
    (place(sealing) / ".cut-off").write_text("of somebody who was killed")
    monkeypatch.setattr(os, "replace", full_in(place(sealing)))
    done = sealing.apply(module, plan)
    assert isinstance(done, ModuleApplied)
    assert "No space left on device" in done.warnings[0]
    assert len(list(place(sealing).iterdir())) == 1


# ---------------------------------------------------------------- people


def test_a_state_that_is_gone_names_the_command_that_brings_it_back(sealing: Bench, person: Person) -> None:
    module = sealing.module(DATA % ("a", "1"))
    sealing.deploy(module)
    before = sealing.state_file.read_bytes()
    sealing.state_file.unlink()
    (serial,) = serials(sealing)
    with pytest.raises(NeedsPerson, match=f"`gitopsd state restore web net --serial {serial} --out FILE`"):
        sealing.terraform.plan(module, known=True)
    out = sealing.directory / "out.tfstate"
    code, told, _ = person.state("restore", "web", "net", "--serial", str(serial), "--out", str(out))
    assert code == 0
    (command,) = [line.strip() for line in told.splitlines() if "state push" in line and line.startswith("  ")]
    binary = sealing.settings.binary
    assert os.waitstatus_to_exitcode(os.system(command.replace("terraform state", f"{binary} state"))) == 0  # noqa: S605
    assert not sealing.terraform.plan(module, known=True).changes_state
    assert json.loads(sealing.state_file.read_text())["resources"] == json.loads(before)["resources"]


def test_the_copy_of_a_renamed_component_is_found_by_its_state(sealing: Bench) -> None:
    sealing.deploy(sealing.module(DATA % ("a", "1"), component="older", state_key="net"))
    sealing.state_file.unlink()
    with pytest.raises(NeedsPerson, match="`gitopsd state restore web older --serial"):
        sealing.terraform.plan(sealing.module(DATA % ("a", "1")), known=True)


def test_list_tells_every_copy_and_whether_it_opens_here(sealing: Bench, keys: Path, person: Person) -> None:
    sealing.deploy(sealing.module(DATA % ("a", 1)))
    bring_key(keys, 1)
    sealing.deploy(sealing.module(DATA % ("a", 2)))
    take_key(keys, 0)
    listed = person.listed()
    assert [(c["stack"], c["component"], c["opens"]) for c in listed] == [
        ("web", "net", True),
        ("web", "net", True),
        ("web", "net", False),
    ]
    assert [c["fingerprint"] for c in listed] == [fingerprint_of(1), fingerprint_of(1), fingerprint_of(0)]
    assert listed == person.listed("web") == person.listed("web", "net")
    assert person.state("list", "*", "net")[0] == person.state("list", "web", "other")[0] == 64
    code, text, _ = person.state("list")
    assert (code, text.count("opens"), text.count("no key")) == (0, 2, 1)


def test_what_no_key_opens_is_refused_and_nothing_is_written(sealing: Bench, keys: Path, person: Person) -> None:
    sealing.deploy(sealing.module(DATA % ("a", 1)))
    take_key(keys)
    bring_key(keys, 1)
    out = sealing.directory / "out.tfstate"
    code, _, told = person.state("restore", "web", "net", "--out", str(out))
    assert code == 1
    assert fingerprint_of(0) in told
    assert fingerprint_of(1) in told
    assert not out.exists()


def test_a_file_that_is_there_is_never_overwritten_and_a_new_one_is_private(sealing: Bench, person: Person) -> None:
    sealing.deploy(sealing.module(DATA % ("a", 1)))
    out = sealing.directory / "out.tfstate"
    out.write_text("mine")
    code, _, told = person.state("restore", "web", "net", "--out", str(out))
    assert (code, out.read_text()) == (64, "mine")
    assert "is there already" in told
    out.unlink()
    out.symlink_to(sealing.directory / "elsewhere")
    assert person.state("restore", "web", "net", "--out", str(out))[0] == 64
    assert not (sealing.directory / "elsewhere").exists()
    out.unlink()
    umask = os.umask(0)
    try:
        assert person.state("restore", "web", "net", "--out", str(out), "--json")[0] == 0
    finally:
        os.umask(umask)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_a_copy_that_was_changed_or_moved_is_named_and_does_not_open(sealing: Bench, person: Person) -> None:
    sealing.deploy(sealing.module(DATA % ("a", 1)))
    (file,) = copies(sealing)
    content = file.read_bytes()
    moved = place(sealing).with_name("other") / file.name
    moved.parent.mkdir()
    moved.write_bytes(content)
    assert [c["opens"] for c in person.listed("web", "other")] == [False]
    serial = header(file).state.serial
    file.write_bytes(content.replace(f'"serial": {serial}'.encode(), b'"serial": 9'))
    code, _, told = person.state("list", "web", "net")
    assert code == 1
    assert "another state is in this copy" in told
    file.write_bytes(content[:40])
    code, _, told = person.state("list", "web", "net")
    assert code == 1
    assert f"{file}: is no copy of a state" in told
    assert person.state("restore", "web", "net", "--out", "x")[0] == 64


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--out", "x"],
        ["list", "--serial", "1"],
        ["restore", "web", "--out", "x"],
        ["restore", "web", "net"],
        ["restore", "web", "net", "--out", "x"],
        ["restore", "web", "net", "--serial", "-1", "--out", "x"],
        ["restore", "web", "net", "--serial", "99", "--out", "x"],
    ],
)
def test_wrong_usage_is_told(sealing: Bench, person: Person, arguments: list[str]) -> None:
    if "99" in arguments:
        sealing.deploy(sealing.module(DATA % ("a", 1)))
    code, out, err = person.state(*arguments)
    assert (code, out) == (64, "")
    assert err.startswith("gitopsd: ")
