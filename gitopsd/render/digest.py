"""What a commit asks of one stack, as one number, without rendering it."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import orjson

from gitopsd.model.errors import CommitError
from gitopsd.model.ports import BlobCache
from gitopsd.model.spec import Component, KubernetesComponent, StackSpec, TerraformComponent
from gitopsd.render.layout import PlainLayout
from gitopsd.render.layouts import Layouts
from gitopsd.render.modules import Facts, module_of, once
from gitopsd.render.tools import Tools
from gitopsd.render.view import TreeView
from gitopsd.yamltext import PARSER_VERSION

RENDER_VERSION: Final = "1"
"""To be raised whenever the same commit would give other objects: it is part of digests and cache keys."""


def desired_digest(
    view: TreeView, spec: StackSpec, tools: Tools, cache: BlobCache, *, layouts: Layouts, facts: Facts
) -> str:
    """SHA-256 of everything that a render of this stack would read, in hexadecimal.

    Commits that ask the same have the same digest: names of manifest files, comments beside the stack's section and
    files that nothing refers to do not count. The program that runs Terraform modules does, and the host's settings for
    it: `facts` are asked for if there is a module. Raises EnvironmentFault if a tool is needed that the host has not.
    """
    components = [_component(view, spec, component, layouts, tools) for component in spec.kubernetes]
    known = once(facts)
    components += (_module(view, cache, spec, component, known) for component in spec.terraform)
    asked = [RENDER_VERSION, PARSER_VERSION, spec.name, spec.source, spec.section, components]
    return hashlib.sha256(orjson.dumps(asked)).hexdigest()


def _component(
    view: TreeView, spec: StackSpec, component: KubernetesComponent, layouts: Layouts, tools: Tools
) -> list[Any]:
    try:
        layout = layouts.of(view, spec, component)
    except CommitError:
        return _broken(view, component)
    if isinstance(layout, PlainLayout):
        return [component.name, "plain", sorted(file.entry.oid for file in layout.files)]
    return [component.name, "kustomize", layout.closure.digest, tools.kustomize().version]


def _module(
    view: TreeView, cache: BlobCache, spec: StackSpec, component: TerraformComponent, facts: Facts
) -> list[Any]:
    try:
        return [component.name, "terraform", module_of(view, cache, spec, component, facts).digest]
    except CommitError:
        return _broken(view, component)


def _broken(view: TreeView, component: Component) -> list[Any]:
    """A component that cannot be rendered, and which change would mend it is not known: every one may."""
    return [component.name, "broken", view.root_oid()]
