"""From a commit's files to what it asks for: Kubernetes objects of plain manifests and kustomizations, and Terraform
root modules."""

from gitopsd.render.layout import ManifestFile, Sheet, path_of
from gitopsd.render.modules import Facts, ModuleFacts
from gitopsd.render.objects import Found
from gitopsd.render.renderer import Contents, Outline, Renderer, documents
from gitopsd.render.tools import Tools

__all__ = [
    "Contents",
    "Facts",
    "Found",
    "ManifestFile",
    "ModuleFacts",
    "Outline",
    "Renderer",
    "Sheet",
    "Tools",
    "documents",
    "path_of",
]
