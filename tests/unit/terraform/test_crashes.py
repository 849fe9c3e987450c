"""Stops and kills at any moment: no lock stays, nothing is lost or made twice, and the next plan goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gitopsd.model.errors import Cause, EnvironmentFault
from gitopsd.model.modules import ModuleApplied, ModuleFailure, ResourceAction
from gitopsd.terraform.processes import running_in
from tests.unit.terraform.bench import Bench

DATA = 'resource "terraform_data" "%s" {\n  input = %s\n}\n'

# The shell ends itself on the interrupt that its whole group gets, as any program at a terminal does.
HELD = """
resource "terraform_data" "first" {
  input = 1
}
resource "terraform_data" "held" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" {
    command = "echo at it > %(sign)s; while [ ! -e %(go)s ]; do sleep 0.05; done"
  }
}
resource "terraform_data" "last" {
  depends_on = [terraform_data.held]
}
"""


@pytest.fixture
def sign(bench: Bench) -> Path:
    return bench.directory / "sign"


@pytest.fixture
def go(bench: Bench) -> Path:
    return bench.directory / "go"


@pytest.fixture
def held(sign: Path, go: Path) -> str:
    """A module whose apply stands still at its second resource until the file `go` is there."""
    return HELD % {"sign": sign, "go": go}


def wait_for(what: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def test_stop_interrupts_an_apply_which_tells_what_it_made(bench: Bench, held: str, sign: Path, go: Path) -> None:
    module = bench.module(held)
    plan = bench.terraform.plan(module)
    began = time.monotonic()
    failed = bench.terraform.apply(module, plan, progress=bench.progress.append, stop=sign.exists)
    assert time.monotonic() - began < 10
    assert isinstance(failed, ModuleFailure)
    assert failed.interrupted
    assert failed.cause is Cause.ENVIRONMENT
    assert failed.created == ("terraform_data.first",)
    assert [(r.address, r.action.value, r.end.value) for r in failed.resources] == [
        ("terraform_data.first", "create", "done"),
        ("terraform_data.held", "create", "failed"),
    ]
    assert running_in(bench.work / "data") == ()
    go.touch()
    again = bench.terraform.plan(module, known=True)
    assert {r.address: r.action for r in again.resources} == {
        "terraform_data.held": ResourceAction.REPLACE,
        "terraform_data.last": ResourceAction.CREATE,
    }
    done = bench.apply(module, again)
    assert isinstance(done, ModuleApplied)
    assert done.tracked == 3


def test_close_interrupts_whoever_waits(bench: Bench, held: str, sign: Path) -> None:
    module = bench.module(held)
    plan = bench.terraform.plan(module)
    ended: list[object] = []
    thread = threading.Thread(target=lambda: ended.append(bench.apply(module, plan)))
    thread.start()
    wait_for(sign.exists)
    bench.terraform.close()
    thread.join(10)
    (failed,) = ended
    assert isinstance(failed, ModuleFailure)
    assert failed.interrupted
    with pytest.raises(EnvironmentFault, match="gitopsd is stopping"):
        bench.terraform.plan(module)
    bench.restart()
    assert bench.terraform.plan(module, known=True).tracked == 2


def test_an_apply_that_takes_too_long_is_interrupted_and_says_so(bench: Bench, held: str) -> None:
    bench.changes["timeout"] = 1.5
    bench.restart()
    module = bench.module(held)
    failed = bench.apply(module, bench.terraform.plan(module))
    assert isinstance(failed, ModuleFailure)
    assert not failed.interrupted
    assert failed.cause is Cause.ENVIRONMENT
    assert "did not end within 1.5 s" in failed.message
    assert "terraform.timeout" in failed.message


def test_a_program_that_does_not_heed_its_interrupt_is_killed(bench: Bench, tmp_path: Path) -> None:
    deaf = tmp_path / "terraform"
    deaf.write_text(
        "#!/bin/sh\n[ $1 = version ] && echo 'Terraform v1.11.4' && exit\ntrap '' INT\nwhile :; do sleep 1; done\n"
    )
    deaf.chmod(0o755)
    bench.changes |= {"binary": str(deaf), "init_timeout": 0.3, "patience": 0.3}
    bench.restart()
    with pytest.raises(EnvironmentFault, match="did not stop by itself and was killed"):
        bench.terraform.plan(bench.module(DATA % ("a", "1")))
    wait_for(lambda: not running_in(bench.work / "data"))


def test_whoever_listens_may_fail_and_the_apply_still_ends_in_order(bench: Bench, held: str, sign: Path) -> None:
    module = bench.module(held)
    plan = bench.terraform.plan(module)

    def progress(_text: str) -> None:
        if sign.exists():
            raise RuntimeError("the listener")

    def stop() -> bool:
        if sign.exists():
            raise RuntimeError("the listener")
        return False

    with pytest.raises(RuntimeError, match="the listener"):
        bench.terraform.apply(module, plan, progress=progress, stop=stop)
    assert bench.terraform.plan(module, known=True).tracked == 2


# ---------------------------------------------------------------- our own death


CHILD = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from tests.unit.terraform.bench import Bench

    bench = Bench(Path(sys.argv[1]))
    module = bench.module(Path(sys.argv[2]).read_text())
    plan = bench.terraform.plan(module)
    if sys.argv[3] == "apply":
        bench.apply(module, plan)
    """
)


@pytest.fixture
def start(bench: Bench, tmp_path: Path) -> Iterator[Callable[[str, str], subprocess.Popen[bytes]]]:
    """Starts a process that works on a module, as the daemon does."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(text: str, what: str) -> subprocess.Popen[bytes]:
        code = tmp_path / "code.tf"
        code.write_text(text)
        command = [sys.executable, "-c", CHILD, str(bench.directory), str(code), what]
        started.append(subprocess.Popen(command, cwd=Path(__file__).parents[3], start_new_session=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()
    for pid in running_in(bench.work / "data"):
        os.kill(pid, signal.SIGKILL)


Start = Callable[[str, str], "subprocess.Popen[bytes]"]


def test_after_kill_9_in_an_apply_the_child_ends_in_order(
    bench: Bench, held: str, sign: Path, go: Path, start: Start
) -> None:
    process = start(held, "apply")
    wait_for(sign.exists)
    process.kill()
    process.wait()
    assert running_in(bench.work / "data"), "the child goes on without us, so that nothing is lost"
    bench.restart()
    bench.terraform.settle("web", "net")
    assert running_in(bench.work / "data") == ()
    assert list((bench.settings.runtime_dir / "terraform-plans").iterdir()) == []
    assert {file.name for file in bench.work.iterdir()} == {"tree", "tree.json", "data", "home", "tmp"}
    assert not bench.state_file.with_name(f".{bench.state_file.name}.lock.info").exists()
    go.touch()
    done = bench.deploy(bench.module(held), known=True)
    assert done.tracked == 3
    assert "terraform_data.first" not in done.created


def test_after_kill_9_of_both_the_next_plan_settles_by_itself(
    bench: Bench, held: str, sign: Path, go: Path, start: Start
) -> None:
    process = start(held, "apply")
    wait_for(sign.exists)
    process.kill()
    process.wait()
    for pid in running_in(bench.work / "data"):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not running_in(bench.work / "data"))
    bench.restart()
    go.touch()
    done = bench.deploy(bench.module(held))
    assert done.tracked == 3
    assert not (bench.work / "crashed.json").exists()
    assert not bench.state_file.with_name(f".{bench.state_file.name}.lock.info").exists()


@pytest.mark.parametrize("operation", ["init", "plan", "show"])
def test_after_kill_9_before_the_apply_nothing_is_left(bench: Bench, operation: str, start: Start) -> None:
    text = DATA % ("a", "1")
    mark = bench.work / "running.json"
    process = start(text, "plan")

    def at_it() -> bool:
        try:
            return f'"operation": "{operation}"' in mark.read_text()
        except OSError:
            return False

    wait_for(lambda: at_it() or process.poll() is not None)
    process.kill()
    process.wait()
    bench.restart()
    bench.terraform.settle("web", "net")
    assert running_in(bench.work / "data") == ()
    assert bench.deploy(bench.module(text)).created == ("terraform_data.a",)
    assert not mark.exists()
    assert list((bench.settings.runtime_dir / "terraform-plans").iterdir()) == []


def test_settle_does_nothing_without_a_crash(bench: Bench) -> None:
    bench.terraform.settle("web", "net")
    module = bench.module(DATA % ("a", "1"))
    done = bench.deploy(module)
    bench.terraform.settle("web", "net")
    assert bench.terraform.plan(module, known=True).state == done.state
