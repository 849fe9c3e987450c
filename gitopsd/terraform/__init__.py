"""Terraform and OpenTofu, run for one module at a time behind the port `Terraform`."""

from gitopsd.terraform.adapter import RealTerraform, open_terraform
from gitopsd.terraform.settings import KubeBackend, SealingKey, TerraformSettings

__all__ = ["KubeBackend", "RealTerraform", "SealingKey", "TerraformSettings", "open_terraform"]
