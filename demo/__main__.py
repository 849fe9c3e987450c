"""`make demo`: told in few words, done for real."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from demo.stage import ROOT, DemoError, Stage


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def show(stage: Stage, *command: str) -> None:
    print(f"$ gitopsd {' '.join(command)}\n{stage.gitopsd(*command).rstrip()}", flush=True)


def act(stage: Stage) -> None:
    """The whole play. Raises DemoError where the world does not follow."""
    say("A repository is made from manifests-example/, and the daemon is pointed at it")
    print(f"Terraform is {stage.terraform}", flush=True)
    stage.make_repository()
    stage.start_daemon()
    took = stage.wait_for("the first commit is live", lambda: live(stage, 1))
    print(f"{stage.gitopsd('status').rstrip()}\nlive after {took:.1f} s", flush=True)
    prove(stage, "welcome", "pictures.example.org")

    say("Dana pushes a new greeting, and a Terraform variable that moves the pictures to another host")
    stage.edit("shop/config.yaml", 'greeting: "welcome"', 'greeting: "good to see you"')
    stage.edit("infra/production.tfvars", "pictures.example.org", "media.example.org")
    stage.push("Greet people warmly, serve pictures from media")
    took = stage.wait_for("the push is live", lambda: live(stage, 2))
    print(f"one run brought both to the shop's ConfigMap, {took:.1f} s after the push", flush=True)
    prove(stage, "good to see you", "media.example.org")

    say("Dana pushes another greeting and another host for pictures, with an image that cannot be pulled")
    stage.edit("shop/config.yaml", "good to see you", "it is a sale")
    stage.edit("infra/production.tfvars", "media.example.org", "sale.example.org")
    stage.edit("shop/deployment.yaml", "registry.example/shop:1.0.0", "registry.example/shop:pull-error")
    stage.push("Release the sale")
    took = stage.wait_for("the bad push is rolled back", lambda: rolled_back(stage))
    print(f"Terraform and Kubernetes are back {took:.1f} s after the push", flush=True)
    prove(stage, "good to see you", "media.example.org")

    say("What the operator sees")
    show(stage, "status")
    show(stage, "history")
    show(stage, "audit", "-n", "12")
    show(stage, "audit", "verify")


def ended(stage: Stage, verdict: str, kind: str = "deploy") -> int:
    return sum(run["verdict"] == verdict and run["kind"] == kind for run in stage.runs())


def live(stage: Stage, pushes: int) -> bool:
    """Whether so many pushes went live. Raises DemoError where one did not."""
    if ended(stage, "failed"):
        raise DemoError(f"the push failed:\n{stage.gitopsd('show', 'last')}")
    return ended(stage, "good") == pushes


def rolled_back(stage: Stage) -> bool:
    return ended(stage, "failed") == 1 and ended(stage, "good", "rollback") == 1


def prove(stage: Stage, greeting: str, zone: str) -> None:
    """Show what the cluster and the Terraform state hold, by their own programs. Raises DemoError if it is not this."""
    data = "jsonpath={.data.greeting}{'\\n'}{.data.pictures\\.url}"
    said, pictures = stage.kubectl("get", "configmap", "shop", "-n", "shop", "-o", data).splitlines()
    host = stage.output("pictures_host")
    print(f"  kubectl get configmap shop  greeting: {said}; pictures.url: {pictures}", flush=True)
    print(f"  {stage.terraform.name + ' output':<26}  pictures_host: {host}", flush=True)
    if said != greeting or pictures != f"https://{host}" or not host.endswith(f".{zone}"):
        raise DemoError(f"expected {greeting!r} and a host in {zone} in both worlds")


def stay(stage: Stage) -> None:
    say("It stays up: try these in another terminal, and end it with Ctrl-C")
    shown = Path(sys.executable).parent.parent
    print(
        f"  . {shown}/bin/activate; export GITOPSD_CONFIG={stage.directory}/config.yaml"
        f" KUBECONFIG={stage.cluster.kubeconfig}\n"
        f"  cd {stage.clone}    # edit, commit, `git push origin main`\n"
        "  gitopsd status      gitopsd history      gitopsd show last      gitopsd plan\n"
        f"  kubectl get pods -A     {stage.terraform} -chdir={stage.directory}/state-of-infra output\n",
        flush=True,
    )
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


def main() -> int:
    say("A real Kubernetes control plane starts on this machine")
    try:
        stage = Stage.set(ROOT / ".demo")
    except (DemoError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    try:
        act(stage)
        if sys.stdout.isatty() and sys.stdin.isatty():
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
            stay(stage)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped")
    finally:
        stage.strike()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
