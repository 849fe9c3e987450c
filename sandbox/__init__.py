"""A real Kubernetes control plane on one machine, without images, and OpenTofu with providers, without a registry: for
the demo, the tests and the benchmarks.

Standard library only, so that it works before any virtual environment exists. Linux only.
"""

from sandbox.cluster import Cluster, Component
from sandbox.common import SandboxError
from sandbox.terraform import terraform_cli_config, terraform_environment
from sandbox.toolsets import tool

__all__ = ["Cluster", "Component", "SandboxError", "terraform_cli_config", "terraform_environment", "tool"]
