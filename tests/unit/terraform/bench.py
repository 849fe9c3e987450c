"""A host with Terraform on it, and modules out of texts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gitopsd.model.ids import UnitId
from gitopsd.model.modules import ModuleApplied, ModuleFailure, ModulePlan
from gitopsd.model.ports import Module, TreeEntry
from gitopsd.model.units import Origin, TerraformUnit
from gitopsd.terraform import RealTerraform, TerraformSettings, open_terraform


@dataclass(frozen=True)
class TextTree:
    """A `SourceTree` of texts by path."""

    texts: Mapping[str, str]
    commit: str = "c0ffee"

    def oid(self, path: str) -> str | None:
        found = self.files(path)
        return (
            hashlib.sha1("".join(e.oid for e in found).encode(), usedforsecurity=False).hexdigest() if found else None
        )

    def files(self, under: str = "") -> tuple[TreeEntry, ...]:
        return tuple(
            TreeEntry(path, "100644", hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), len(text))
            for path, text in sorted(self.texts.items())
            if under in {"", path} or path.startswith(f"{under}/")
        )

    def read(self, entries: Sequence[TreeEntry]) -> dict[str, bytes]:
        return {entry.path: self.texts[entry.path].encode() for entry in entries}

    def submodules(self, under: str = "") -> tuple[str, ...]:
        return ()

    def export(self, destination: Path, paths: Iterable[str]) -> None:
        for entry in {e for path in paths for e in self.files(path)}:
            file = destination / entry.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.texts[entry.path])


@dataclass
class Bench:
    """One host: its directories, and the adapter on them."""

    directory: Path
    changes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.terraform = self.open()
        self.progress: list[str] = []

    @property
    def settings(self) -> TerraformSettings:
        base = TerraformSettings(
            state_dir=self.directory / "state",
            runtime_dir=self.directory / "run",
            digest_key=lambda: b"k" * 32,
            backend="local",
            lock_timeout=1.0,
            patience=20.0,
        )
        return replace(base, **self.changes)

    def open(self) -> RealTerraform:
        """As the daemon does when it starts."""
        return open_terraform(self.settings)

    def restart(self) -> None:
        """As after a crash: nothing was closed."""
        self.terraform = self.open()

    def module(self, text: str = "", variables: Mapping[str, Any] | None = None, **more: Any) -> Module:
        """A component `net` in `infra/net` of stack `web`; `files` are further ones by their path in the repository,
        everything else goes to its unit."""
        files = {"infra/net/main.tf": text, **more.pop("files", {})}
        files = {path: content for path, content in files.items() if content}
        unit = TerraformUnit(
            id=UnitId.terraform("net"),
            component="net",
            order=(0, 0),
            origin=Origin("gitopsd.yaml", 7),
            digest="d",
            path="infra/net",
            files=tuple(sorted(files)),
        )
        return Module("web", replace(unit, **more), TextTree(files), variables or {})

    def apply(self, module: Module, plan: ModulePlan) -> ModuleApplied | ModuleFailure:
        return self.terraform.apply(module, plan, progress=self.progress.append, stop=lambda: False)

    def deploy(self, module: Module, **how: bool) -> ModuleApplied:
        """Plan and apply, which has to go well."""
        plan = self.terraform.plan(module, **how)
        done = self.apply(module, plan)
        self.terraform.discard([plan])
        assert isinstance(done, ModuleApplied), done
        return done

    @property
    def work(self) -> Path:
        return self.settings.state_dir / "terraform" / "work" / "web" / "net"

    @property
    def state_file(self) -> Path:
        return self.settings.state_dir / "terraform" / "states" / "net.tfstate"

    def everything(self) -> dict[Path, bytes]:
        """Every file below the host's directories but Terraform's own states."""
        states = self.settings.state_dir / "terraform" / "states"
        return {
            file: file.read_bytes()
            for file in self.directory.rglob("*")
            if file.is_file() and not file.is_symlink() and states not in file.parents
        }
