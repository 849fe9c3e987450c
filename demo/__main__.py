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
    stage.make_repository()
    stage.start_daemon()
    took = stage.wait_for("the first commit is live", lambda: ended(stage, "good") == 1)
    print(f"{stage.gitopsd('status').rstrip()}\nlive after {took:.1f} s", flush=True)

    say("Dana pushes a new greeting")
    stage.edit("shop/config.yaml", 'greeting: "welcome"', 'greeting: "good to see you"')
    stage.push("Greet people warmly")
    took = stage.wait_for("the greeting is live", lambda: greeting(stage) == "good to see you")
    stage.wait_for("its run is good", lambda: ended(stage, "good") == 2)
    print(f"greeting in the cluster: {greeting(stage)!r}, {took:.1f} s after the push", flush=True)

    say("Dana pushes another greeting together with an image that cannot be pulled")
    stage.edit("shop/config.yaml", "good to see you", "it is a sale")
    stage.edit("shop/deployment.yaml", "registry.example/shop:1.0.0", "registry.example/shop:pull-error")
    stage.push("Release the sale")
    took = stage.wait_for("the bad push is rolled back", lambda: rolled_back(stage))
    print(f"rolled back {took:.1f} s after the push; greeting in the cluster: {greeting(stage)!r}", flush=True)

    say("What the operator sees")
    show(stage, "status")
    show(stage, "history")
    show(stage, "audit", "-n", "8")
    show(stage, "audit", "verify")


def ended(stage: Stage, verdict: str, kind: str = "deploy") -> int:
    return sum(run["verdict"] == verdict and run["kind"] == kind for run in stage.runs())


def rolled_back(stage: Stage) -> bool:
    return ended(stage, "failed") == 1 and ended(stage, "good", "rollback") == 1


def greeting(stage: Stage) -> str:
    return stage.cluster.kubectl("get", "configmap", "shop", "-n", "shop", "-o", "jsonpath={.data.greeting}")


def stay(stage: Stage) -> None:
    say("It stays up: try these in another terminal, and end it with Ctrl-C")
    shown = Path(sys.executable).parent.parent
    print(
        f"  . {shown}/bin/activate; export GITOPSD_CONFIG={stage.directory}/config.yaml"
        f" KUBECONFIG={stage.cluster.kubeconfig}\n"
        f"  cd {stage.clone}    # edit, commit, `git push origin main`\n"
        "  gitopsd status      gitopsd history      gitopsd show last      gitopsd plan\n"
        "  kubectl get pods -A\n",
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
