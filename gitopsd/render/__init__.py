"""From a commit's files to the Kubernetes objects that it asks for: plain manifests and kustomizations."""

from gitopsd.render.renderer import Renderer
from gitopsd.render.tools import Tools

__all__ = ["Renderer", "Tools"]
