"""Sealing into files and resealing them: nothing but sealed texts changes, whatever the files look like."""

from __future__ import annotations

import base64
import json
import subprocess
from datetime import timedelta
from functools import cache
from pathlib import Path

import git
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitopsd.model.errors import CommitError, EnvironmentFault, NeedsPerson, UsageError
from gitopsd.model.sensitive import Sensitive
from gitopsd.sealed.document import Scope, read_sealed_secret
from gitopsd.sealing.envelope import OpeningKey, fingerprint, seal
from gitopsd.sealing.keyring import Keypair
from gitopsd.sealing.opening import open_items
from gitopsd.sealing.reseal import (
    Resealed,
    commit_all,
    openers,
    reseal_file,
    sealed_files,
    unified_diff,
    write_all,
)
from gitopsd.sealing.seal import ToSeal, choose, merged, sealed_yaml
from gitopsd.sealing.splice import SealedFile
from tests.support.kubeseal import NOW, opening_key


@cache
def pair(number: int) -> Keypair:
    """A keypair without files; a higher number is newer."""
    key = opening_key(number)
    start = NOW + timedelta(days=number)
    return Keypair(f"key{number}", key.fingerprint, start, start + timedelta(days=99), b"", key.private)


OLD, NEW, FOREIGN = pair(0), pair(1), pair(2)
KEYS: list[OpeningKey] = [NEW.opening, OLD.opening]


def sealed(value: bytes = b"value", key: Keypair = OLD, label: bytes = b"web/db") -> str:
    return base64.b64encode(seal(key.public, value, label)).decode()


def values(data: bytes, keys: list[OpeningKey]) -> list[dict[str, bytes]]:
    """The opened items of every SealedSecret of a file."""
    secrets = [read_sealed_secret(found.manifest, found.at) for found in SealedFile("f", data).found]
    return [{key: v.reveal() for key, v in open_items(secret, keys).items.items()} for secret in secrets]


def document(body: str, *, name: str = "db", end: str = "\n") -> str:
    """A SealedSecret whose items are these lines."""
    lines = ["apiVersion: bitnami.com/v1alpha1", "kind: SealedSecret", f"metadata: {{name: {name}, namespace: web}}"]
    return end.join([*lines, "spec:", "  encryptedData:", *(f"    {line}" for line in body.split("\n"))])


def wrapped(text: str, width: int, indent: str) -> str:
    return "\n".join(indent + text[at : at + width] for at in range(0, len(text), width))


STYLES = {
    "plain": "a: {0}",
    "comment": "a: {0}   # the reason",
    "single": "a: '{0}'",
    "double": '"a": "{0}"',
    "folded": "a: >-\n  {0}",
    "literal": "a: |\n  {0}",
    "kept": "a: |+\n  {0}\n\n",
    "indented": "a:   |2-\n  {0}\n# end",
    "next line": "a:\n    {0}",
}
"""Ways to write one item, by name; each is followed by others."""


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_style_of_yaml_is_kept(style: str, end: str) -> None:
    mine, other = sealed(), sealed(b"other", NEW)
    text = document(f"{STYLES[style].format(mine)}\nb: {other}") + "\n# the end"
    data = text.replace("\n", end).encode()
    found = reseal_file("f.yaml", data, KEYS, NEW)
    assert (found.items, found.newest, found.problems) == (1, 1, ())
    assert values(found.after, [NEW.opening]) == [{"a": b"value", "b": b"other"}]
    before, after = data.decode().split(mine), found.after.decode()
    assert after.startswith(before[0])
    assert after.endswith(before[1])
    assert mine not in after


def test_a_literal_in_lines_stays_in_lines() -> None:
    text = document(f"a: |-\n{wrapped(sealed(), 64, '  ')}\n\nb: {sealed()}")
    found = reseal_file("f.yaml", text.encode(), KEYS, NEW)
    assert values(found.after, [NEW.opening]) == [{"a": b"value", "b": b"value"}]
    assert [len(line) for line in found.after.splitlines()] == [len(line) for line in text.splitlines()]


def test_flow_lists_several_documents_and_a_byte_order_mark() -> None:
    one, two, three = sealed(), sealed(label=b"web/two"), sealed(label=b"web/three")
    flow = (
        "{apiVersion: bitnami.com/v1alpha1, kind: SealedSecret, metadata: {name: %s, namespace: web}, "
        "spec: {encryptedData: {k: %s, \"l\": '%s'}}}"
    )
    items = "\n".join(f"- {flow % (name, text, text)}" for name, text in (("two", two), ("three", three)))
    text = f"\ufeff# first\n---\n{document(f'k: {one}')}\n---\n---\nkind: List\nitems:\n- a: b\n{items}\n...\n"
    found = reseal_file("f.yaml", text.encode(), KEYS, NEW)
    assert (found.items, found.problems) == (5, ())
    assert [set(v.values()) for v in values(found.after, [NEW.opening])] == [{b"value"}] * 3
    assert found.after.startswith(b"\xef\xbb\xbf# first\n---\n")


def test_json_is_resealed_as_json() -> None:
    text = (
        '{\n\t"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",\n  "metadata": {"name": "db", '
        f'"namespace": "web"}},\n  "spec": {{"encryptedData": {{"k": "{sealed()}"}}}}\n}}\n'
    ).replace("\t", "  ")
    found = reseal_file("f.json", text.encode(), KEYS, NEW)
    assert (found.items, found.problems) == (1, ())
    assert values(found.after, [NEW.opening]) == [{"k": b"value"}]


FILLERS = st.text(alphabet="ab :#-'\"äé\U0001f512&*|>{}[],\t\n", max_size=12)
"""Text for comments and quoted values around the items."""


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nothing_but_the_sealed_texts_changes(data: st.DataObject) -> None:
    """Over files of random styles, comments, line ends and neighbours."""
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    pieces: list[str] = []
    mine: list[str] = []
    for number in range(data.draw(st.integers(1, 3))):
        name = f"s{number}"
        body = []
        for item in range(data.draw(st.integers(1, 3))):
            text = sealed(f"{number}.{item}".encode(), label=f"web/{name}".encode())
            mine.append(text)
            style = STYLES[data.draw(st.sampled_from(sorted(STYLES)))].replace("a", f"k{item}", 1)
            body += [style.format(text), f"# {data.draw(FILLERS)!r}"]
        pieces.append(document("\n".join(body), name=name) + f"\n  template: {{metadata: {{labels: {{a: {'x'!r}}}}}}}")
        quoted = json.dumps(data.draw(FILLERS), ensure_ascii=False)
        pieces.append(f"# {data.draw(FILLERS)!r}\nother: {quoted}")
    text = "\n---\n".join(pieces).replace("\n", end) + data.draw(st.sampled_from(["", end]))
    found = reseal_file("f.yaml", text.encode(), KEYS, NEW)
    assert (found.items, found.problems) == (len(mine), ())
    after, rest = found.after.decode(), text
    for old in mine:
        before, rest = rest.split(old, 1)
        assert after.startswith(before)
        after = after[len(before) + len(old) :]  # the same plaintext under a key of the same size: the same length
    assert after == rest
    assert [set(v) for v in values(found.after, [NEW.opening])] == [set(v) for v in values(text.encode(), KEYS)]
    assert reseal_file("f.yaml", found.after, KEYS, NEW).newest == len(mine)


@pytest.mark.parametrize(
    "text",
    [
        document(f"a: &x {sealed()}\nb: *x"),
        document(f"a: !!str {sealed()}"),
        f"x: &x {{k: {sealed()}}}\n" + document("<<: *x"),
    ],
)
def test_what_is_written_by_reference_is_left_and_named(text: str) -> None:
    found = reseal_file("f.yaml", text.encode(), KEYS, NEW)
    assert not found.changed
    assert found.problems


def test_what_no_key_opens_is_named_and_the_rest_is_resealed() -> None:
    text = document(f"a: {sealed(key=FOREIGN)}\nb: {sealed()}\nc: {sealed(label=b'web/x')}")
    found = reseal_file("f.yaml", text.encode(), KEYS, NEW)
    assert [problem.field for problem in found.problems] == ["spec.encryptedData.a", "spec.encryptedData.c"]
    assert found.items == 1
    before, after = text.splitlines(), found.after.decode().splitlines()
    assert [number for number, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [6]


@pytest.mark.parametrize("text", ["kind: SealedSecret\n{{ if x }}", "a: [SealedSecret", "SealedSecret: \x00"])
def test_a_file_that_is_no_yaml_is_named_and_left(text: str) -> None:
    found = reseal_file("f.yaml", text.encode(), KEYS, NEW)
    assert not found.changed
    assert found.problems[0].file == "f.yaml"


def test_a_namespace_that_others_set_can_be_said() -> None:
    text = document(f"a: {sealed()}").replace(", namespace: web", "")
    assert "needs a namespace" in str(reseal_file("f.yaml", text.encode(), KEYS, NEW).problems[0])
    assert reseal_file("f.yaml", text.encode(), KEYS, NEW, "web").items == 1
    file = SealedFile("f.yaml", text.encode())
    after = merged(file, choose(file, "db", "web"), {"b": Sensitive(b"2")}, NEW.public, "web")
    assert reseal_file("f.yaml", after, KEYS, NEW, "web").newest == 1


def test_which_keys_open_what() -> None:
    text = document(f"a: {sealed()}\nb: {sealed(key=NEW)}") + "\n---\n" + document(f"a: {sealed(key=FOREIGN)}")
    text += "\n---\nkind: SealedSecret\napiVersion: bitnami.com/v1alpha1\nspec: broken"
    assert openers("f", text.encode(), KEYS) == [frozenset({OLD.fingerprint, NEW.fingerprint}), frozenset()]
    assert openers("f", b"a: [", KEYS) == []
    assert fingerprint(OLD.public) == OLD.fingerprint


# ---------------------------------------------------------------- into files


@pytest.mark.parametrize(
    ("body", "added"),
    [
        ("a: {0}", "\n    z: "),
        ("a: {0}  # why", "  # why\n    z: "),
        ("a: |\n  {0}\n\n", "\n    z: "),
        ("a: >-\n  {0}", "\n    z: "),
        ("? a\n: {0}", "\n    z: "),
        ("?   a\n: {0}  # why", "\n    z: "),
        ("? # why\n  a\n: {0}", "\n    z: "),
        ('? "a"\n: >-\n  {0}', "\n    z: "),
    ],
)
def test_an_item_is_added_after_the_others(body: str, added: str) -> None:
    text = document(body.format(sealed())) + "\n  template: {type: x}"
    file = SealedFile("f.yaml", text.encode())
    after = merged(file, file.found[0], {"z": Sensitive(b"1"), "y.y": Sensitive(b"2")}, NEW.public)
    assert values(after, KEYS) == [{"a": b"value", "z": b"1", "y.y": b"2"}]
    assert b"\n    y.y: " in after
    new = [line for line in after.decode().splitlines(keepends=True) if line.lstrip()[:2] in {"z:", "y."}]
    assert "".join(line for line in after.decode().splitlines(keepends=True) if line not in new) == text


@pytest.mark.parametrize("flow", ["{{}}", "{{a: {0}}}", "{{ a: {0} }}", '{{\n      "a": "{0}"\n    }}'])
def test_an_item_is_added_inside_of_braces(flow: str) -> None:
    head = document("").rstrip().removesuffix("encryptedData:").rstrip()
    text = f"{head}\n  encryptedData: {flow.format(sealed())}\n"
    file = SealedFile("f.yaml", text.encode())
    after = merged(file, file.found[0], {"y": Sensitive(b"1"), "z": Sensitive(b"2")}, NEW.public)
    assert {"y": b"1", "z": b"2"}.items() <= values(after, KEYS)[0].items()


@pytest.mark.parametrize("body", ["? a\n: {0}", '? "a"\n: >-\n  {0}'])
def test_an_item_under_a_written_out_key_takes_the_place_of_the_old_one(body: str) -> None:
    file = SealedFile("f.yaml", document(body.format(sealed())).encode())
    after = merged(file, file.found[0], {"a": Sensitive(b"new")}, NEW.public)
    assert values(after, KEYS) == [{"a": b"new"}]


def test_where_an_item_cannot_be_added_the_line_is_one_of_the_file() -> None:
    text = document(f"? a\n: {sealed()}").replace("encryptedData:", "encryptedData: !!map")
    file = SealedFile("f.yaml", text.encode())
    with pytest.raises(CommitError, match="cannot be put in") as caught:
        merged(file, file.found[0], {"z": Sensitive(b"1"), "y": Sensitive(b"2")}, NEW.public)
    assert [problem.line for problem in caught.value.problems] == [5]


def test_an_item_takes_the_place_of_the_old_one_for_its_own_scope() -> None:
    text = document(f"a: {sealed()}\nb: {sealed()}") + "\n---\n" + document(f"a: {sealed(label=b'web/x')}", name="x")
    file = SealedFile("f.yaml", text.encode())
    with pytest.raises(UsageError, match="db, x"):
        choose(file)
    after = merged(file, choose(file, "x"), {"a": Sensitive(b"new")}, NEW.public)
    assert values(after, KEYS) == [{"a": b"value", "b": b"value"}, {"a": b"new"}]
    assert after.decode().splitlines()[:-1] == text.splitlines()[:-1]


def test_without_a_mapping_there_is_nothing_to_add_to() -> None:
    file = SealedFile("f.yaml", document("").rstrip().encode())
    with pytest.raises(CommitError, match=r"encryptedData: \{\}"):
        merged(file, file.found[0], {"a": Sensitive(b"x")}, NEW.public)


def test_what_seal_writes_reseal_reads() -> None:
    secret = ToSeal("y", "on", Scope.STRICT, {"true": Sensitive(b"1"), "0x10": Sensitive(b"2")}, labels={"a": "012"})
    text = sealed_yaml(secret, OLD.public).encode()
    found = reseal_file("f.yaml", text, KEYS, NEW)
    assert (found.items, values(found.after, [NEW.opening])) == (2, [{"true": b"1", "0x10": b"2"}])


# ---------------------------------------------------------------- repositories


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    with git.Repo.init(tmp_path / "infra") as made, made.config_writer() as config:
        config.set_value("user", "name", "n").set_value("user", "email", "e@example.org")
    directory = tmp_path / "infra"
    (directory / "apps").mkdir()
    (directory / "apps" / "ä b.yaml").write_text(document(f"a: {sealed()}"), newline="")
    (directory / "crlf.yml").write_text(document(f"a: {sealed()}", end="\r\n") + "\r\n", newline="")
    (directory / "new.yaml").write_text(document(f"a: {sealed(key=NEW)}"))
    (directory / "text.txt").write_text(document(f"a: {sealed()}"))
    (directory / "link.yaml").symlink_to("crlf.yml")
    _git(directory, "add", ".")
    _git(directory, "commit", "-qm", "first")
    (directory / "untracked.yaml").write_text(document(f"a: {sealed()}"))
    return directory


def _git(directory: Path, *arguments: str, given: str | None = None) -> str:
    done = subprocess.run(["git", *arguments], cwd=directory, input=given, capture_output=True, text=True, check=True)
    return done.stdout


def _resealed(directory: Path) -> list[Resealed]:
    found = [reseal_file(path, data, KEYS, NEW) for path, data in sealed_files(directory)]
    return [each for each in found if each.changed]


def test_tracked_files_are_looked_at_and_no_others(repository: Path, tmp_path: Path) -> None:
    assert [name for name, _ in sealed_files(repository)] == ["apps/ä b.yaml", "crlf.yml", "new.yaml"]
    assert [name for name, _ in sealed_files(repository / "apps")] == ["ä b.yaml"]
    bare = tmp_path / "bare"
    (bare / ".hidden").mkdir(parents=True)
    for name in ("a.yaml", ".hidden/b.yaml"):
        (bare / name).write_text(document(f"a: {sealed()}"))
    assert [name for name, _ in sealed_files(bare)] == ["a.yaml"]
    with pytest.raises(UsageError):
        list(sealed_files(tmp_path / "none"))


def test_the_diff_is_one_that_git_applies(repository: Path) -> None:
    changes = _resealed(repository)
    assert len(changes) == 2
    _git(repository, "apply", "--check", "-", given=unified_diff(changes))
    done = subprocess.run(
        ["git", "apply", "-"], cwd=repository, input=unified_diff(changes).encode(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for change in changes:
        assert (repository / change.path).read_bytes() == change.after


ODD_NAMES = ["a\nb.yaml", 'a"b.yaml', "a\\b.yaml", "a\tb.yaml", "two  words.yaml", "ä\x7f.yaml", " lead.yaml"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_diff_names_every_file_so_that_git_finds_it(repository: Path, name: str) -> None:
    (repository / name).write_text(document(f"a: {sealed()}"))
    _git(repository, "add", "--", name)
    (change,) = (each for each in _resealed(repository) if each.path == name)
    _git(repository, "apply", "-", given=unified_diff([change]))
    assert (repository / name).read_bytes() == change.after


def test_a_commit_has_these_files_alone(repository: Path) -> None:
    (repository / "staged.txt").write_text("x")
    _git(repository, "add", "staged.txt")
    commit = commit_all(repository, _resealed(repository), "Reseal")
    assert _git(repository, "rev-parse", "HEAD").strip() == commit
    listed = _git(repository, "show", "--name-only", "--format=%s", "-z", "HEAD").replace("\0", "\n").split("\n")
    assert [line for line in listed if line] == ["Reseal", "apps/ä b.yaml", "crlf.yml"]
    assert _git(repository, "status", "--porcelain").splitlines() == ["A  staged.txt", "?? untracked.yaml"]
    assert _resealed(repository) == []


def test_a_file_with_changes_of_its_own_is_not_committed(repository: Path) -> None:
    with (repository / "crlf.yml").open("a") as file:
        file.write("# mine\n")
    with pytest.raises(NeedsPerson, match=r"crlf\.yml"):
        commit_all(repository, _resealed(repository), "Reseal")
    assert len(_resealed(repository)) == 2


def test_a_file_that_changed_meanwhile_is_left_alone(repository: Path) -> None:
    changes = _resealed(repository)
    path = repository / changes[0].path
    path.write_bytes(b"mine")
    with pytest.raises(EnvironmentFault, match="changed while"):
        write_all(repository, changes)
    assert path.read_bytes() == b"mine"


def test_what_git_refuses_is_told_in_its_words(repository: Path) -> None:
    changes = _resealed(repository)
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'not on fridays' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(EnvironmentFault, match=r"not on fridays \(the files are resealed"):
        commit_all(repository, changes, "Reseal")
    (repository / ".git" / "index").write_bytes(b"garbage")
    with pytest.raises(EnvironmentFault, match=r"git ls-files fails: .*index"):
        list(sealed_files(repository))


def test_outside_of_a_work_tree_nothing_is_committed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(document(f"a: {sealed()}"))
    with pytest.raises(NeedsPerson, match="no git work tree"):
        commit_all(tmp_path, _resealed(tmp_path), "x")
