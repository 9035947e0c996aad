import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile import IN_PLACE_OF_A_FILE, IN_PLACE_OF_A_FOLDER, make_canary, needs_posix, snapshot

from metarobot.io import Folder, FolderError, read_file, require_writable, write_file

pytestmark = needs_posix

ON_A_FILE: dict[str, Callable[[Folder, str], object]] = {
    "has": lambda folder, name: folder.has(name),
    "read": lambda folder, name: folder.read(name),
    "write": lambda folder, name: folder.write(name, b"new"),
    "write first of two": lambda folder, name: folder.write_together({name: b"a", "z": b"b"}),
    "write last of two": lambda folder, name: folder.write_together({"z": b"b", name: b"a"}),
    "remove among others": lambda folder, name: folder.write_together({name: None, "z": b"b"}),
    "require_replaceable": lambda folder, name: folder.require_replaceable(name),
    "require_files": lambda folder, name: folder.require_files({name: 10}),
    "open_log": lambda folder, name: folder.open_log(name, 0).close(),
    "remove": lambda folder, name: folder.remove(name),
    "move": lambda folder, name: folder.move(name, folder / "other"),
    "move over": lambda folder, name: folder.move("plain", folder, name),
    "write_file": lambda folder, name: write_file(folder.path / name, b"new"),
    "require_writable": lambda folder, name: require_writable(folder.path / name),
}
FINE = {
    ("has", "giant"),
    ("remove", "giant"),
    ("move", "giant"),
    ("move", "folder"),
    ("move over", "giant"),
}
"""What is no danger: nothing is read or followed."""

IN_A_FOLDER: dict[str, Callable[[Folder], object]] = {
    "exists": lambda folder: folder.exists(),
    "names": lambda folder: folder.names(),
    "kinds": lambda folder: folder.kinds(),
    "has": lambda folder: folder.has("file"),
    "read": lambda folder: folder.read("file"),
    "make": lambda folder: folder.make(),
    "write": lambda folder: folder.write("file", b"new"),
    "write_together": lambda folder: folder.write_together({"file": b"new", "z": b"new"}),
    "create": lambda folder: folder.create("new").close(),
    "open_log": lambda folder: folder.open_log("file", 0).close(),
    "remove": lambda folder: folder.remove("file"),
    "remove_tree": lambda folder: folder.remove_tree(),
    "remove_if_empty": lambda folder: folder.remove_if_empty(),
    "move out": lambda folder: folder.move("file", Folder(folder.root)),
    "move in": lambda folder: Folder(folder.root).move("plain", folder),
    "lock": lambda folder: folder.lock().__enter__(),
    "deeper": lambda folder: (folder / "below").write("file", b"new"),
}


@pytest.fixture
def canary(tmp_path) -> Path:
    return make_canary(tmp_path / "canary")


@pytest.fixture
def folder(tmp_path) -> Folder:
    folder = Folder(tmp_path / "root")
    (folder / "other").make()
    folder.write("plain", b"plain")
    return folder


@pytest.mark.parametrize("thing", IN_PLACE_OF_A_FILE)
@pytest.mark.parametrize("act", ON_A_FILE)
def test_what_is_no_plain_file_is_refused_and_not_followed(folder, canary, act, thing):
    IN_PLACE_OF_A_FILE[thing](folder.path / "x", canary)
    before = snapshot(canary)
    if (act, thing) in FINE:
        ON_A_FILE[act](folder, "x")
    else:
        with pytest.raises((FolderError, IsADirectoryError)) as error:
            ON_A_FILE[act](folder, "x")
        assert str(folder.path / "x") in str(error.value)
        assert "\n" not in str(error.value)
        assert folder.names() == ["other", "plain", "x"]
    assert snapshot(canary) == before


@pytest.mark.parametrize("thing", IN_PLACE_OF_A_FOLDER)
@pytest.mark.parametrize("act", IN_A_FOLDER)
def test_what_is_no_folder_is_refused_and_not_followed(folder, canary, act, thing):
    IN_PLACE_OF_A_FOLDER[thing](folder.path / "x", canary)
    before = snapshot(canary)
    with pytest.raises(FolderError) as error:
        IN_A_FOLDER[act](folder / "x")
    assert f"{folder.path / 'x'} is a" in str(error.value)
    assert snapshot(canary) == before


@pytest.mark.parametrize("act", IN_A_FOLDER)
def test_a_root_that_is_a_link_is_refused_unless_it_is_only_read_from(folder, canary, act):
    link = folder.path / "link"
    link.symlink_to(canary / "folder")
    before = snapshot(canary)
    with pytest.raises(FolderError, match="is a link"):
        IN_A_FOLDER[act](Folder(link))
    assert snapshot(canary) == before
    assert Folder.named(link).read("file") == b"precious"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "../x", "nul\0"])
def test_names_lead_nowhere_else(folder, name):
    for what, act in ON_A_FILE.items():
        if what in ("write_file", "require_writable"):  # whose path is the user's own
            continue
        with pytest.raises(FolderError, match="is not the name of a file"):
            act(folder, name)
    with pytest.raises(FolderError):
        folder / name


def test_hard_links_are_not_written_through(folder, canary):
    os.link(canary / "folder" / "file", folder.path / "curve.csv")
    before = snapshot(canary)
    with pytest.raises(FolderError, match="another name elsewhere"):
        folder.open_log("curve.csv", 0)
    folder.write("curve.csv", b"new")  # replaces the name, not the content
    assert snapshot(canary) == before


def test_files_that_belong_together_appear_together(folder, monkeypatch):
    """Wherever writing ends: old numbers with the old report, or new ones, perhaps without one."""
    old = {"numbers": b"old", "picture": b"old", "report": b"old"}
    new = {"numbers": b"new", "picture": None, "report": b"new"}
    calls = {"fsync": 0}

    class Killed(BaseException):
        pass

    for name in ("fsync", "replace", "unlink"):
        real = getattr(os, name)

        def counted(*args, real=real, **kwargs):
            if calls["left"] == 0:
                raise Killed
            calls["left"] -= 1
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, counted)
    seen = set()
    for number in range(40):
        calls["left"] = 10**9
        folder.write_together(old)
        calls["left"] = number
        try:
            folder.write_together(new)
        except Killed:
            calls["left"] = 10**9
        found = {name: folder.read(name) for name in new if folder.has(name)}
        if found.get("report") == b"old":
            assert found == old
        elif found.get("report") == b"new":
            assert found == {"numbers": b"new", "report": b"new"}
        seen.add((found["numbers"], found.get("report")))
    assert {(b"old", b"old"), (b"new", b"new"), (b"new", None)} <= seen


def test_a_full_disk_changes_nothing(folder, monkeypatch):
    """However far writing several files has come."""
    folder.write_together({"a": b"old", "b": b"old", "c": b"old"})
    for number in range(3):
        left = [number]

        def full(descriptor, left=left):
            if left[0] == 0:
                raise OSError(28, "No space left on device")
            left[0] -= 1

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left") as error:
                folder.write_together({"a": b"new", "b": b"new", "c": b"new"})
        assert str(folder.path / "abc"[number]) in str(error.value)
        assert [folder.read(name) for name in "abc"] == [b"old"] * 3
        assert folder.names() == ["a", "b", "c", "other", "plain"]


def test_a_file_that_the_user_names_may_be_a_link(tmp_path, canary):
    (tmp_path / "link").symlink_to(canary / "folder" / "file")
    assert read_file(tmp_path / "link") == b"precious"
    with pytest.raises(FolderError, match="is a link"):
        write_file(tmp_path / "link", b"new")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises((OSError, FolderError)):
        read_file(tmp_path / "circle")
    with pytest.raises(FileNotFoundError, match="missing"):
        read_file(tmp_path / "missing")


def test_trees_are_removed_without_what_their_links_lead_to(folder, canary):
    deep = folder / "tree" / "a" / "b"
    deep.make()
    (deep.path / "link").symlink_to(canary)
    before = snapshot(canary)
    (folder / "tree").remove_tree()
    (folder / "tree").remove_tree()
    assert folder.names() == ["other", "plain"]
    assert snapshot(canary) == before
