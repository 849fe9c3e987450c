"""From a commit's files to what it asks for: Kubernetes objects of plain manifests and kustomizations, and Terraform
root modules."""

from gitopsd.render.modules import Facts, ModuleFacts
from gitopsd.render.renderer import Renderer
from gitopsd.render.tools import Tools

__all__ = ["Facts", "ModuleFacts", "Renderer", "Tools"]
