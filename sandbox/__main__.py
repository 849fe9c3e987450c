"""The command line: `python -m sandbox up|down|tool|build`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from sandbox import launch, terraform, toolsets
from sandbox.common import SandboxError, say

CLI_CONFIG = "terraform-cli-config"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a cluster; prints the path of its kubeconfig when it is ready")
    up.add_argument("directory", type=Path)
    up.add_argument("--nodes", type=int, default=1, help="number of simulated nodes (default 1)")
    up.add_argument("--audit", action="store_true", help="write one line per API request to DIR/audit.log")
    up.add_argument("--owner-pid", type=int, help="end the cluster when this process is gone")
    down = commands.add_parser("down", help="end the cluster of a directory and remove its data; the logs stay")
    down.add_argument("directory", type=Path)
    down.add_argument("--keep-data", action="store_true", help="leave the data for a later `up`")
    tool = commands.add_parser("tool", help="print the path of a program, built first when needed")
    tool.add_argument(
        "name", help=f"`{CLI_CONFIG}` is the CLI configuration with which terraform and tofu need no network"
    )
    commands.add_parser("build", help="build all programs that are not in the cache yet")
    return parser


def main() -> int:
    arguments = _parser().parse_args()
    try:
        if arguments.command == "up":
            started = time.monotonic()
            layout = launch.up(
                arguments.directory, nodes=arguments.nodes, audit=arguments.audit, owner_pid=arguments.owner_pid
            )
            say(f"ready after {time.monotonic() - started:.1f} s")
            print(layout.kubeconfig)
        elif arguments.command == "down":
            launch.down(arguments.directory, keep_data=arguments.keep_data)
        elif arguments.command == "tool":
            print(terraform.terraform_cli_config() if arguments.name == CLI_CONFIG else toolsets.tool(arguments.name))
        else:
            for tool_set in toolsets.TOOL_SETS:
                say(f"the {tool_set.name} tools are in {toolsets.ensure(tool_set)}")
            say(f"the providers for {toolsets.tool('terraform')} are in {terraform.provider_mirror()}")
    except SandboxError as problem:
        print(f"sandbox: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sandbox: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
