"""The pure part of reading a tree: git's answers as data, and which symlinks leave."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitopsd.git.listing import leaves_tree, normal_path, parse_blobs, parse_listing
from gitopsd.git.names import is_object_id, is_ref_name


@pytest.mark.parametrize(
    ("links", "leaves"),
    [
        ({"l": "a/b"}, False),
        ({"l": "missing/file"}, False),
        ({"l": "."}, False),
        ({"l": ".."}, True),
        ({"l": "/a"}, True),
        ({"a/l": "../b"}, False),
        ({"a/l": "../../b"}, True),
        ({"l": "deep/../..", "deep": "x/y/z"}, False),  # by its text alone this one would leave
        ({"a/b/l": "up/..", "a/b/up": "../.."}, True),  # and this one would stay
        ({"l": "other", "other": "/etc"}, True),
        ({"l": "l"}, True),
        ({"l": "m", "m": "l"}, True),
    ],
)
def test_a_link_is_judged_by_where_it_really_leads(links: dict[str, str], leaves: bool) -> None:
    assert leaves_tree(next(iter(links)), links) is leaves


_PARTS = st.sampled_from(["a", "b", "c", "..", "."])
_TARGETS = st.lists(_PARTS, min_size=1, max_size=5).map("/".join)
_PLACES = st.sampled_from(["a", "b", "c/a", "c/b", "c/c/a"])


@settings(max_examples=200, deadline=None)
@given(links=st.dictionaries(_PLACES, _TARGETS, min_size=1, max_size=5))
def test_the_file_system_agrees(links: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(os.path.realpath(scratch)) / "one" / "two" / "three" / "four" / "five" / "six"
        for place, target in links.items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).symlink_to(target)
        for place in {"a", "b", "c"} - links.keys():
            (root / place).mkdir(parents=True, exist_ok=True)
        for place in links:
            found = Path(os.path.realpath(root / place))
            outside = found != root and root not in found.parents
            if (root / place).exists():
                assert leaves_tree(place, links) is outside
            else:  # nothing is there, or the links go in a circle, which counts as leaving
                assert leaves_tree(place, links) or not outside


@pytest.mark.parametrize(
    ("path", "normal"),
    [("", ""), (".", ""), ("./a//b/", "a/b"), ("a", "a"), ("a/..", None), ("../a", None), ("/a", None)],
)
def test_a_path_is_normal_or_outside(path: str, normal: str | None) -> None:
    assert normal_path(path) == normal


@given(st.dictionaries(st.binary(min_size=20, max_size=20).map(bytes.hex), st.binary(max_size=80), max_size=6))
def test_blobs_are_cut_by_their_size_whatever_they_contain(blobs: dict[str, bytes]) -> None:
    output = b"".join(f"{oid} blob {len(content)}\n".encode() + content + b"\n" for oid, content in blobs.items())
    assert parse_blobs(b"f" * 40 + b" missing\n" + output) == blobs


def test_an_answer_that_ends_early_is_not_taken_for_a_shorter_file() -> None:
    whole = b"a" * 40 + b" blob 5\nhello\n"
    assert parse_blobs(whole) == {"a" * 40: b"hello"}
    for end in range(41, len(whole)):
        with pytest.raises(ValueError, match=r"ended inside|subsection not found|not found"):
            parse_blobs(whole[:end])


def test_a_listing_keeps_trees_links_and_submodules_apart() -> None:
    output = (
        b"040000 tree " + b"1" * 40 + b"       -\tk8s\x00"
        b"100644 blob " + b"2" * 40 + b"      12\tk8s/a b.yaml\x00"
        b"120000 blob " + b"3" * 40 + b"       4\tlink\x00"
        b"160000 commit " + b"4" * 40 + b"       -\tmodule\x00"
        b"100644 blob " + b"5" * 40 + b"       1\t.git/config\x00"
    )
    listing = parse_listing("0" * 40, output)
    assert [(f.path, f.mode, f.size) for f in listing.files] == [("k8s/a b.yaml", "100644", 12), ("link", "120000", 4)]
    assert listing.oids["k8s"] == "1" * 40
    assert listing.oids["module"] == "4" * 40
    assert listing.oids[""] == "0" * 40
    assert listing.unusable == (".git/config",)
    assert listing.submodules == ("module",)


@pytest.mark.parametrize("name", ["main", "feature/x-1", "release-1.2", "ünï", "a@b", "x.lock.d"])
def test_names_of_branches_are_taken(name: str) -> None:
    assert is_ref_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "-x", "--exec=x", "/a", "a/", "a//b", "a..b", "a b", "a~1", "a^", "a:b", "a*", "a?", "[a", "a\\b", "a.lock"],
)
def test_options_patterns_and_expressions_are_no_names(name: str) -> None:
    assert not is_ref_name(name)


@pytest.mark.parametrize("name", ["x.lock/y", ".a", "a/.b", "a.", "@", "a@{1}", "a\x1b", "a\nb", "HEAD:x"])
def test_what_git_itself_refuses_is_no_name(name: str) -> None:
    assert not is_ref_name(name)


def test_only_a_full_lower_case_id_is_an_id() -> None:
    assert is_object_id("a" * 40)
    assert is_object_id("0" * 64)
    for text in ("", "a" * 39, "A" * 40, "a" * 41, "g" * 40, "a" * 40 + "\n"):
        assert not is_object_id(text)
