"""Which files of a commit belong to a Terraform root module, and that its digest is over all that goes into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.model.errors import CommitError, EnvironmentFault, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.modules import OutputRef
from gitopsd.model.spec import ApprovalMode, KubernetesComponent, StackSpec, TerraformComponent, Variable
from gitopsd.model.units import Origin, TerraformUnit
from gitopsd.render import ModuleFacts, Renderer
from tests.support.memory_cache import MemoryCache
from tests.support.trees import Link, MemoryTree
from tests.unit.render.conftest import Files

FACTS = ModuleFacts("terraform 1.11.4", "settings")
NET = TerraformComponent("net", "infra/net", state_key="net", line=5)
RESOURCE = 'resource "terraform_data" "x" {}\n'


def stack(*components: TerraformComponent | KubernetesComponent) -> StackSpec:
    return StackSpec("web", "main", "gitopsd.yaml", components)


def module(files: Files, component: TerraformComponent = NET, cache: MemoryCache | None = None) -> TerraformUnit:
    renderer = Renderer(cache or MemoryCache())
    (unit,) = renderer.modules(MemoryTree(files), stack(component), lambda: FACTS)
    return unit


def faults(files: Files, *components: TerraformComponent) -> list[str]:
    with pytest.raises(CommitError) as caught:
        Renderer(MemoryCache()).modules(MemoryTree(files), stack(*components or (NET,)), lambda: FACTS)
    return [str(problem) for problem in caught.value.problems]


def code(expression: str) -> str:
    return f"locals {{\n  x = {expression}\n}}\n"


def test_a_unit_says_everything_that_the_component_does() -> None:
    component = TerraformComponent(
        "net",
        "infra/net",
        workspace="blue",
        var_files=("infra/net/prod.tfvars", "infra/shared.tfvars"),
        variables=(Variable("host", OutputRef("db", "host")),),
        state_key="key",
        wave=-5,
        approval=ApprovalMode.NEVER,
        line=9,
    )
    files = {"infra/net/main.tf": RESOURCE, "infra/net/prod.tfvars": "", "infra/shared.tfvars": "a = 1\n"}
    unit = module(files, component)
    assert unit == TerraformUnit(
        id=UnitId.terraform("net"),
        component="net",
        order=(-5, 0),
        origin=Origin("gitopsd.yaml", 9),
        digest=unit.digest,
        path="infra/net",
        files=("infra/net/main.tf", "infra/net/prod.tfvars", "infra/shared.tfvars"),
        var_files=("infra/net/prod.tfvars", "infra/shared.tfvars"),
        variables=(Variable("host", OutputRef("db", "host")),),
        workspace="blue",
        state_key="key",
        approval=ApprovalMode.NEVER,
    )


# ---------------------------------------------------------------- which files belong to it

AROUND: Files = {
    "README.md": "r",
    "infra/net/.terraform.lock.hcl": "lock",
    "infra/net/.tflint.hcl": "hidden",
    "infra/net/terraform.tfstate": "never",
    "infra/net/terraform.tfstate.backup": "never",
    "infra/net/.terraform/modules/modules.json": "never",
    "infra/net/terraform.tfvars": "a = 1\n",
    "infra/net/prod.auto.tfvars": "b = 1\n",
    "infra/net/notes.md": "n",
    "infra/net/conf/a.json": "a",
    "infra/net/conf/.b.json": "b",
    "infra/net/conf/deep/c.json": "c",
    "infra/net/conf/x.tfstate": "never",
    "infra/net/other/d.json": "d",
    "infra/shared/e.json": "e",
    "infra/mod/main.tf": RESOURCE,
    "infra/mod/conf/m.json": "m",
    "conf/root.json": "r",
}
OWN = {".terraform.lock.hcl", "terraform.tfvars", "prod.auto.tfvars", "notes.md", "main.tf"}
CONF = {"net/conf/a.json", "net/conf/.b.json", "net/conf/deep/c.json"}
MOD = {"mod/main.tf"}
BELOW = CONF | {"net/other/d.json", "net/.tflint.hcl"}

LEADS: dict[str, set[str]] = {
    # what is named
    '"unrelated"': set(),
    'file("${path.module}/conf/a.json")': {"net/conf/a.json"},
    'file("${ path.module }/conf/a.json")': {"net/conf/a.json"},
    'file("${path.root}/conf/a.json")': {"net/conf/a.json"},
    'file("${path.cwd}/conf/a.json")': {"net/conf/a.json"},
    'file("${abspath(path.module)}/conf/a.json")': {"net/conf/a.json"},
    'file("conf/a.json")': {"net/conf/a.json"},
    'file("./conf/a.json")': {"net/conf/a.json"},
    'file("conf//deep/../a.json")': {"net/conf/a.json"},
    'file("${path.module}/../shared/e.json")': {"shared/e.json"},
    'file("../shared/e.json")': {"shared/e.json"},
    'file("${local.here}/conf/a.json")': {"net/conf/a.json"},
    'upper("a" == "b" ? file("conf/a.json") : "")': {"net/conf/a.json"},
    '"x ${file("conf/a.json")} y"': {"net/conf/a.json"},
    '"x ${upper("${file("conf/a.json")}")} y"': {"net/conf/a.json"},
    '<<-EOF\n  text "conf/deep"\n  ${file("conf/a.json")}\n  EOF': {"net/conf/a.json"},
    '"%{ if var.x }${file("conf/a.json")}%{ endif }"': {"net/conf/a.json"},
    # directories are taken whole
    '"${path.module}/conf"': CONF,
    '"./conf"': CONF,
    '"conf"': CONF,
    '"conf/"': CONF,
    '"../shared"': {"shared/e.json"},
    'fileset("${path.module}/conf", "*.json")': CONF,
    'fileset("conf", "*.json")': CONF,
    'fileset(path.module, "conf/*.json")': CONF,
    'fileset(path.module, "**/*.json")': BELOW,
    'fileset(path.module, "*/a.json")': BELOW,
    'fileset(path.module, "*.json")': set(),
    '"."': BELOW,
    '"${path.module}"': BELOW,
    "path.module": BELOW,
    # where a path is computed, the directory before that
    'file("${path.module}/conf/${var.env}.json")': CONF,
    'file("conf/${var.env}/x.json")': CONF,
    'file("conf/%{ if var.a }a%{ endif }.json")': CONF,
    'file("${path.module}/${var.dir}/a.json")': BELOW,
    'file("${path.module}/../shared/${var.env}.json")': {"shared/e.json"},
    # what is none of it
    '"${var.a}/${var.b}"': set(),
    '"${var.a}"': set(),
    'join(".", ["a"])': set(),
    'split("/", "a")': set(),
    '"*"': set(),
    '"*/5 * * * *"': set(),
    '"arn:aws:s3:::bucket/*"': set(),
    '"arn:aws:s3:::bucket*/x"': set(),
    '"https://example.org/conf/a.json"': set(),
    '"/conf/a.json"': set(),
    '"$${path.module}/conf"': set(),
    '"conf/gone.json"': set(),
    '1 # conf/a.json, "conf/a.json"': set(),
    '1 // "conf/a.json"': set(),
    '1 /* "conf/a.json"\n "conf" */': set(),
    '{\n  source = "../mod"\n}': {"mod/main.tf", "mod/conf/m.json"},  # no module, but a directory
}


def infra(paths: set[str]) -> set[str]:
    return {f"infra/{path}" for path in paths} | {f"infra/net/{name}" for name in OWN}


@pytest.mark.parametrize("expression", LEADS)
def test_what_a_text_leads_to_belongs_to_the_module(expression: str) -> None:
    unit = module({**AROUND, "infra/net/main.tf": code(expression)})
    assert set(unit.files) == infra(LEADS[expression])
    assert list(unit.files) == sorted(unit.files)


MODULES: dict[str, set[str]] = {
    'module "m" {\n  source = "../mod"\n}\n': MOD,
    'module "m" { source = "../mod/" }\n': MOD,
    'module "m" {\n  count = 1\n  source  = "./..//mod"\n  x = { y = 1 }\n}\n': MOD,
    'module "m" {\n  source = "hashicorp/consul/aws"\n}\n': set(),
    'module "m" {\n  source = "git::https://example.org/mod.git//conf"\n}\n': set(),
    'module "m" {\n  source = "../${var.which}"\n}\n': MOD | {"mod/conf/m.json", "shared/e.json"} | BELOW,
}


@pytest.mark.parametrize("text", MODULES)
def test_a_local_module_belongs_to_it_without_its_subdirectories(text: str) -> None:
    unit = module({**AROUND, "infra/net/main.tf": text})
    assert set(unit.files) == infra(MODULES[text])


def test_the_label_of_a_block_is_no_path() -> None:
    text = 'resource "conf" "other" {\n  provisioner "conf" {}\n}\ndata "x" "conf" { a = 1 }\n'
    assert set(module({**AROUND, "infra/net/main.tf": text}).files) == infra(set())


def test_modules_lead_on_each_from_its_own_directory_and_from_the_root() -> None:
    files: Files = {
        **AROUND,
        "infra/net/main.tf": 'module "m" { source = "../mod" }\n',
        "infra/mod/main.tf": code('file("${path.module}/conf/m.json")') + 'module "n" { source = "./inner" }\n',
        "infra/mod/inner/n.tf": code('[file("../../net/other/d.json"), file("conf/a.json"), "${path.root}/conf/deep"]'),
        "infra/mod/inner/unnamed/x": "x",
    }
    assert set(module(files).files) == infra(
        {"mod/main.tf", "mod/conf/m.json", "mod/inner/n.tf", "net/other/d.json"}
        | {"net/conf/a.json", "net/conf/deep/c.json"}
    )


def test_modules_that_name_each_other_end() -> None:
    files: Files = {
        "infra/net/main.tf": 'module "m" { source = "../mod" }\n',
        "infra/mod/main.tf": 'module "n" { source = "../net" }\n',
    }
    assert module(files).files == ("infra/mod/main.tf", "infra/net/main.tf")


def test_a_module_at_the_root_of_the_repository() -> None:
    files: Files = {"main.tf": code('file("./conf/a")'), "conf/a": "a", "conf/b": "b", "web/x.yaml": "x"}
    unit = module(files, replace(NET, path=""))
    assert (unit.path, unit.files) == ("", ("conf/a", "main.tf"))


def test_the_json_form_leads_as_the_other_does() -> None:
    text = (
        '{"module": {"m": {"source": "../mod"}, "n": [{"source": "../mod2"}]},\n'
        ' "locals": {"a": "${file(\\"conf/a.json\\")}", "b": "${path.module}/other", "//": "a comment"},\n'
        ' "locals": {"c": "../shared/e.json"}}'
    )
    files: Files = {**AROUND, "infra/net/main.tf.json": text, "infra/mod2/x.tofu": RESOURCE}
    assert set(module(files).files) == infra(
        {"mod/main.tf", "mod2/x.tofu", "net/conf/a.json", "net/other/d.json", "shared/e.json", "net/main.tf.json"}
    ) - {"infra/net/main.tf"}


def test_variable_files_lead_on_too() -> None:
    component = replace(NET, var_files=("envs/prod.tfvars", "envs/prod.tfvars.json"))
    files: Files = {
        **AROUND,
        "infra/net/main.tf": RESOURCE,
        "infra/net/terraform.tfvars": 'policy = "conf/a.json"\n',
        "envs/prod.tfvars": 'file = "../shared/e.json"\n',
        "envs/prod.tfvars.json": '{"dir": "other"}',
        "envs/staging.tfvars": "",
    }
    unit = module(files, component)
    assert set(unit.files) == infra({"net/conf/a.json", "shared/e.json", "net/other/d.json"}) | {
        "envs/prod.tfvars",
        "envs/prod.tfvars.json",
    }


# ---------------------------------------------------------------- symlinks


def test_links_belong_to_it_with_what_they_lead_to() -> None:
    files: Files = {
        "infra/net/main.tf": Link("../../code/main.tf"),
        "infra/net/conf": Link("../shared"),
        "infra/net/dangling": Link("gone"),
        "infra/mods": Link("../modules"),
        "modules/a/main.tf": RESOURCE,
        "code/main.tf": code('file("conf/e.json")') + 'module "m" { source = "../mods/a" }\n',
        "infra/shared/e.json": "e",
        "infra/shared/f.json": "f",
    }
    assert module(files).files == (
        "code/main.tf",
        "infra/mods",
        "infra/net/conf",
        "infra/net/dangling",
        "infra/net/main.tf",
        "infra/shared/e.json",
        "modules/a/main.tf",
    )


def test_a_component_behind_a_link_runs_where_the_link_leads() -> None:
    files: Files = {"infra/net": Link("../releases/2"), "releases/2/main.tf": RESOURCE}
    unit = module(files)
    assert (unit.path, unit.files) == ("releases/2", ("infra/net", "releases/2/main.tf"))


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"infra/net/link": Link("/etc/passwd")}, "infra/net/link: this link leaves the repository"),
        ({"infra/net/link": Link("../../../x")}, "infra/net/link: this link leaves the repository"),
        ({"infra/net/link": Link("link")}, "infra/net/link: this link leaves the repository"),
        (
            {"infra/net/a.tf": code('"conf"'), "infra/net/conf/secret": Link("/root/.ssh/id")},
            "infra/net/conf/secret: this link leaves the repository",
        ),
        (
            {"infra/net/a.tf": code('file("sub/x/y")'), "infra/net/sub/x": Link("/root/.ssh")},
            "infra/net/a.tf:2: this path leaves the repository",
        ),
        ({"infra/net/a.tf": code('"../../../x"')}, "infra/net/a.tf:2: this path leaves the repository"),
        ({"infra/net/a.tf": code('"${path.module}/../../../x/${var.y}"')}, "infra/net/a.tf:2: this path leaves"),
        ({"infra/net/a.tf": '\nmodule "m" {\n  source = "../../../x"\n}'}, "infra/net/a.tf:3: this path leaves"),
    ],
)
def test_what_leaves_the_repository_is_refused_without_saying_where_to(files: Files, told: str) -> None:
    (fault,) = faults({"infra/net/main.tf": RESOURCE, **files})
    assert fault.startswith(told)
    assert "passwd" not in fault
    assert ".ssh" not in fault


def test_a_text_that_is_no_path_may_look_as_if_it_left() -> None:
    assert module({"infra/net/main.tf": code('"a/../../../../b"')}).files == ("infra/net/main.tf",)


# ---------------------------------------------------------------- what cannot be run


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"infra/net/main.tf": None}, "gitopsd.yaml:5: component net: the commit has no directory infra/net"),
        (
            {"infra/net/main.tf": None, "infra/net/x.yaml": "x"},
            "infra/net: the directory infra/net has no Terraform code",
        ),
        (
            {"infra/net/main.tf": '\nmodule "m" {\n  source = "../gone"\n}\n'},
            "infra/net/main.tf:3: the commit has no directory infra/gone",
        ),
        (
            {"infra/net/main.tf": 'module "m" { source = "../mod" }', "infra/mod/x.yaml": "x"},
            "infra/net/main.tf:1: the directory infra/mod has no Terraform code",
        ),
        (
            {"infra/net/main.tf": 'module "m" { source = "./main.tf" }'},
            "infra/net/main.tf:1: the commit has no directory infra/net/main.tf",
        ),
        (
            {"infra/net/main.tf": 'module "m" { source = "/srv/mod" }'},
            "infra/net/main.tf:1: expected a path relative to this file, not an absolute one",
        ),
        (
            {"infra/net/a.tf.json": '{\n "module": {"m": {\n  "source": "../gone"}}}'},
            "infra/net/a.tf.json:3: the commit has no directory infra/gone",
        ),
        ({"infra/net/a.tf.json": '{\n "a": }'}, "infra/net/a.tf.json:2: this is not JSON: Expecting value"),
        ({"infra/net/a.tf.json": "[" * 100_000}, "infra/net/a.tf.json:1: this is too long or too deep"),
        ({"infra/net/a.tf": b"a = 1\nb = \xff\n"}, "infra/net/a.tf:2: this is not UTF-8 text"),
        ({"infra/net/a.tf": "#" * 5_000_000}, "infra/net/a.tf: the file has more than the 4 MiB allowed for code"),
        (
            {"infra/net/gitopsd_override.tf.json": "{}"},
            "infra/net/gitopsd_override.tf.json:1: gitopsd itself writes a file of this name "
            "(give it another name ending in _override.tf.json)",
        ),
    ],
)
def test_what_cannot_be_run_is_told_with_its_place(files: dict[str, Any], told: str) -> None:
    chosen = {path: text for path, text in {"infra/net/main.tf": RESOURCE, **files}.items() if text is not None}
    assert faults({"other": "x", **chosen}) == [told]


def test_variable_files_that_are_not_there_are_told_with_the_component() -> None:
    component = replace(NET, var_files=("infra/net/gone.tfvars", "infra/net", "infra/net/out"))
    files: Files = {"infra/net/main.tf": RESOURCE, "infra/net/out": Link("/etc/passwd")}
    assert faults(files, component) == [
        "gitopsd.yaml:5: component net: the commit has no variable file infra/net/gone.tfvars "
        "(varFiles are relative to infra/net, where the module is)",
        "gitopsd.yaml:5: component net: the variable file infra/net is a directory",
        "gitopsd.yaml:5: component net: the variable file infra/net/out leads out of the repository",
    ]


def test_the_problems_of_every_module_are_told_at_once() -> None:
    files: Files = {"infra/net/main.tf": 'module "m" { source = "./x" }\nmodule "n" { source = "./y" }\n'}
    told = faults(files, NET, replace(NET, name="other", path="infra/other", line=8))
    assert told == [
        "gitopsd.yaml:8: component other: the commit has no directory infra/other",
        "infra/net/main.tf:1: the commit has no directory infra/net/x",
        "infra/net/main.tf:2: the commit has no directory infra/net/y",
    ]


# ---------------------------------------------------------------- the digest

CHANGES: dict[str, Callable[[TerraformComponent], TerraformComponent]] = {
    "workspace": lambda c: replace(c, workspace="blue"),
    "state key": lambda c: replace(c, state_key="other"),
    "another variable file": lambda c: replace(c, var_files=("infra/net/b.tfvars",)),
    "the order of variable files": lambda c: replace(c, var_files=("infra/net/b.tfvars", "infra/net/a.tfvars")),
    "a variable": lambda c: replace(c, variables=(Variable("a", OutputRef("x", "y")),)),
    "a variable's name": lambda c: replace(c, variables=(Variable("b", OutputRef("x", "y")),)),
    "a variable's source": lambda c: replace(c, variables=(Variable("a", OutputRef("x", "z")),)),
}
NO_CHANGES: dict[str, Callable[[TerraformComponent], TerraformComponent]] = {
    "wave": lambda c: replace(c, wave=9),
    "approval": lambda c: replace(c, approval=ApprovalMode.ALWAYS),
    "line": lambda c: replace(c, line=99),
    "dependsOn": lambda c: replace(c, depends_on=("x",)),
}
TFVARS: Files = {"infra/net/main.tf": RESOURCE, "infra/net/a.tfvars": "", "infra/net/b.tfvars": "c = 1\n"}
PLAIN = replace(NET, var_files=("infra/net/a.tfvars", "infra/net/b.tfvars"))


def test_every_input_of_the_component_counts() -> None:
    digests = [module(TFVARS, change(PLAIN)).digest for change in CHANGES.values()]
    assert len({module(TFVARS, PLAIN).digest, *digests}) == len(CHANGES) + 1


@pytest.mark.parametrize("name", NO_CHANGES)
def test_what_does_not_change_what_terraform_does_does_not_count(name: str) -> None:
    assert module(TFVARS, NO_CHANGES[name](PLAIN)).digest == module(TFVARS, PLAIN).digest


def test_the_order_of_variables_does_not_count() -> None:
    one, two = Variable("a", OutputRef("x", "y")), Variable("b", OutputRef("x", "y"))
    first, again = (module(TFVARS, replace(PLAIN, variables=v)).digest for v in ((one, two), (two, one)))
    assert first == again


def test_the_facts_of_the_host_count() -> None:
    tree, spec, renderer = MemoryTree(TFVARS), stack(PLAIN), Renderer(MemoryCache())
    facts = [FACTS, replace(FACTS, version="tofu 1.12.6"), replace(FACTS, settings="other")]
    units = {renderer.modules(tree, spec, lambda fact=fact: fact)[0].digest for fact in facts}  # type: ignore[misc]
    stacks = {renderer.digest(tree, spec, lambda fact=fact: fact) for fact in facts}  # type: ignore[misc]
    assert (len(units), len(stacks)) == (3, 3)


def test_the_mode_of_a_script_counts() -> None:
    tree = MemoryTree({**TFVARS, "infra/net/run.sh": "x"})
    spec, renderer = stack(PLAIN), Renderer(MemoryCache())
    (before,) = renderer.modules(tree, spec, lambda: FACTS)
    entry = tree._entries["infra/net/run.sh"]
    tree._entries["infra/net/run.sh"] = replace(entry, mode="100755")
    (after,) = renderer.modules(tree, spec, lambda: FACTS)
    assert before.digest != after.digest


def unasked() -> ModuleFacts:
    raise AssertionError("nobody needs to know")


def test_without_a_module_no_program_is_asked_for_its_version() -> None:
    spec = stack(KubernetesComponent("web", "web"))
    tree = MemoryTree({"web/a.yaml": "x"})
    assert Renderer(MemoryCache()).modules(tree, spec, unasked) == ()
    assert Renderer(MemoryCache()).digest(tree, spec, unasked) == Renderer(MemoryCache()).digest(tree, spec)


def test_the_program_is_asked_for_its_version_once_for_a_stack() -> None:
    asked: list[int] = []

    def facts() -> ModuleFacts:
        asked.append(1)
        return FACTS

    spec = stack(PLAIN, replace(PLAIN, name="other", workspace="blue"))
    for ask in (Renderer(MemoryCache()).modules, Renderer(MemoryCache()).digest):
        asked.clear()
        ask(MemoryTree(TFVARS), spec, facts)
        assert asked == [1]


def test_a_host_that_cannot_run_terraform_is_at_fault_not_the_commit() -> None:
    def missing() -> ModuleFacts:
        raise EnvironmentFault(Problem("terraform is not there"))

    for ask in (Renderer(MemoryCache()).modules, Renderer(MemoryCache()).digest):
        with pytest.raises(EnvironmentFault, match="terraform is not there"):
            ask(MemoryTree(TFVARS), stack(PLAIN), missing)
    with pytest.raises(EnvironmentFault, match="not set up to run Terraform"):
        Renderer(MemoryCache()).digest(MemoryTree(TFVARS), stack(PLAIN))


def desired_digest(files: Files, *components: TerraformComponent | KubernetesComponent) -> str:
    return Renderer(MemoryCache()).digest(MemoryTree(files), stack(*components), lambda: FACTS)


def test_the_desired_digest_covers_modules_beside_manifests() -> None:
    web = KubernetesComponent("web", "web")
    files: Files = {**TFVARS, "web/a.yaml": "x", "infra/other/x": "x"}
    before = desired_digest(files, web, PLAIN)
    assert desired_digest({**files, "infra/other/x": "y"}, web, PLAIN) == before
    others = [
        desired_digest({**files, "infra/net/main.tf": f"{RESOURCE} "}, web, PLAIN),
        desired_digest({**files, "web/a.yaml": "y"}, web, PLAIN),
        desired_digest(files, web, replace(PLAIN, workspace="blue")),
        desired_digest(files, web),
        desired_digest(files, PLAIN),
    ]
    assert len({before, *others}) == 6


def test_while_a_module_is_broken_every_change_counts() -> None:
    broken: Files = {"infra/net/main.tf": 'module "m" { source = "./gone" }', "x": "1"}
    assert desired_digest(broken, NET) == desired_digest(dict(broken), NET)
    assert desired_digest(broken, NET) != desired_digest({**broken, "x": "2"}, NET)


def test_code_that_was_scanned_before_is_not_read_again() -> None:
    cache, files = MemoryCache(), {**AROUND, "infra/net/main.tf": 'module "m" { source = "../mod" }\n'}
    first = module(files, cache=cache)
    tree = MemoryTree(files)
    (again,) = Renderer(cache).modules(tree, stack(NET), lambda: FACTS)
    assert again == first
    assert tree.reads == []


# ---------------------------------------------------------------- properties

DIRECTORIES = ("infra/net", "infra/net/sub", "infra/mod", "shared", "")
REFERENCES = (
    'file("${path.module}/data.txt")',
    'file("../data.txt")',
    'file("${path.module}/../data.txt")',
    '"sub"',
    '"../mod"',
    'file("../../shared/${var.x}")',
    'fileset(path.module, "*/*.txt")',
    '"${path.root}/sub/data.txt"',
    '"nothing"',
)
SOURCES = ("../mod", "../net", "./sub")


@st.composite
def repositories(draw: st.DrawFn) -> dict[str, str]:
    files: dict[str, str] = {}
    for directory in DIRECTORIES:
        prefix = f"{directory}/" if directory else ""
        found = draw(st.lists(st.sampled_from(REFERENCES), max_size=2))
        text = RESOURCE + "".join(code(reference) for reference in found)
        if directory in {"infra/net", "infra/mod"}:
            for number, source in enumerate(draw(st.sets(st.sampled_from(SOURCES[:2]), max_size=1))):
                text += f'module "m{number}" {{ source = "{source}" }}\n'
        files[f"{prefix}main.tf"] = text
        files[f"{prefix}data.txt"] = "data"
        files[f"{prefix}.hidden"] = "hidden"
    return files


@given(repositories(), st.data())
def test_the_digest_changes_if_and_only_if_a_file_of_the_module_changes(
    files: dict[str, str], data: st.DataObject
) -> None:
    before = module(files)
    changed = data.draw(st.sampled_from(sorted(files)))
    after = module({**files, changed: files[changed] + "\n# another line\n"})
    assert (after.digest != before.digest) == (changed in before.files)
    assert after.files == before.files


@given(repositories())
def test_the_files_of_a_module_are_all_that_it_needs(files: dict[str, str]) -> None:
    unit = module(files)
    assert module({path: files[path] for path in unit.files}) == unit


@given(repositories(), st.randoms(use_true_random=False))
def test_the_order_of_files_is_irrelevant(files: dict[str, str], shuffle: Any) -> None:
    mixed = list(files.items())
    shuffle.shuffle(mixed)
    assert module(dict(mixed)) == module(files)
