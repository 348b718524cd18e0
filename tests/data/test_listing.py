"""The list of a folder's files: what is found, what is remembered of large folders, and what makes a list stale."""

import multiprocessing
import os
from pathlib import Path

import pytest

from segkit.data.files import listing
from segkit.data.files.listing import keyed_files, visit
from segkit.data.files.pairs import walk_files
from segkit.files import DataError

SUFFIXES = (".jpg", ".png")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder of three files, one of them deeper, which counts as large and has not changed for an hour."""
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(listing, "REMEMBERED", 3)
    root = tmp_path / "images"
    (root / "x" / "y").mkdir(parents=True)
    for name in ("a.jpg", "b.PNG", "x/y/c.jpg", "notes.txt", ".hidden.jpg"):
        (root / name).touch()
    settle(root)
    return root


def settle(root: Path, hours: int = 1) -> None:
    """Sets the times of all folders back; without this a list is not trusted, as in the seconds after a copy."""
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            time = path.stat().st_mtime_ns - hours * 3600 * 10**9
            os.utime(path, ns=(time, time))


def passes(monkeypatch) -> list[str]:
    """Names the folders that are passed over from now on."""
    found: list[str] = []
    scan = os.scandir

    def counted(path):
        found.append(os.fspath(path))
        return scan(path)

    monkeypatch.setattr(listing.os, "scandir", counted)
    return found


def expected(root: Path) -> dict[str, str]:
    """The same by pathlib."""
    files = [path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    return {str(path.relative_to(root).with_suffix("")): str(path) for path in sorted(files)}


def test_one_pass_and_none_at_the_next_start(folder, tmp_path, monkeypatch):
    seen = passes(monkeypatch)
    assert keyed_files(folder, SUFFIXES) == expected(folder)
    assert len(seen) >= 3
    monkeypatch.undo()
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    seen = passes(monkeypatch)
    found = keyed_files(folder, SUFFIXES)
    assert seen == [] and found == expected(folder) and list(found) == sorted(found)
    assert [*keyed_files(folder, (".jpg",))] == ["a", "x/y/c"]  # other suffixes are another list


CHANGES = {
    "added": lambda root: (root / "x" / "y" / "d.jpg").touch(),
    "removed": lambda root: (root / "a.jpg").unlink(),
    "renamed": lambda root: (root / "x" / "y" / "c.jpg").rename(root / "x" / "y" / "e.jpg"),
    "moved": lambda root: (root / "a.jpg").rename(root / "x" / "a.jpg"),
    "folder_added": lambda root: (root / "x" / "z").mkdir(),
    "folder_renamed": lambda root: (root / "x" / "y").rename(root / "x" / "w"),
    "folder_linked": lambda root: (root / "l").symlink_to(root.parent / "other"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_makes_a_list_stale(folder, change):
    other = folder.parent / "other"
    other.mkdir()
    (other / "linked.jpg").touch()
    before = keyed_files(folder, SUFFIXES)
    CHANGES[change](folder)
    found = keyed_files(folder, SUFFIXES)
    wanted = expected(folder)
    if change == "folder_linked":
        wanted["l/linked"] = str(folder / "l" / "linked.jpg")
    assert found == dict(sorted(wanted.items()))
    assert (found == before) is (change == "folder_added")


def test_a_file_that_is_written_anew_makes_no_list_stale(folder, monkeypatch):
    before = keyed_files(folder, SUFFIXES)
    (folder / "a.jpg").write_text("other content")
    seen = passes(monkeypatch)
    assert keyed_files(folder, SUFFIXES) == before and not seen


def test_folders_that_may_still_change_are_not_remembered(folder, tmp_path):
    (folder / "new.jpg").touch()  # now: the folder's time may stay the same for a second file
    keyed_files(folder, SUFFIXES)
    assert not [*(tmp_path / "cache").rglob("*.list")]


def test_small_folders_leave_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "REMEMBERED", 4)
    assert len(keyed_files(folder, SUFFIXES)) == 3 and not (tmp_path / "cache").exists()


def test_fresh_lists_and_a_cache_that_cannot_be_written(folder, tmp_path, monkeypatch):
    keyed_files(folder, SUFFIXES)
    monkeypatch.setenv(listing.LISTS, "fresh")
    seen = passes(monkeypatch)
    keyed_files(folder, SUFFIXES)
    assert len(seen) == 3
    monkeypatch.setenv(listing.LISTS, "")
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "file"))
    assert keyed_files(folder, SUFFIXES) == expected(folder)


def test_a_damaged_list_is_made_anew(folder, tmp_path):
    keyed_files(folder, SUFFIXES)
    (file,) = (tmp_path / "cache").rglob("*.list")
    file.write_bytes(file.read_bytes()[:-9])
    assert keyed_files(folder, SUFFIXES) == expected(folder)


def test_one_name_twice_is_told_each_time(folder):
    (folder / "a.png").touch()
    settle(folder)
    for _ in range(2):
        with pytest.raises(DataError, match=r"a\.png and .*a\.jpg: one name twice"):
            keyed_files(folder, SUFFIXES)


def test_the_order_of_a_walk(folder):
    (folder / "x" / "a.jpg").touch()
    (folder / "circle").symlink_to(folder)
    (folder / "itself").symlink_to(folder / "itself")
    assert [item.below for item in visit(folder, SUFFIXES)] == ["", "x", "x/y"]
    names = [str(Path(path).relative_to(folder)) for path in walk_files(folder, SUFFIXES)]
    assert names == ["a.jpg", "b.PNG", "x/a.jpg", "x/y/c.jpg"]


def _list(folder: str, ready, queue) -> None:
    seen: list[str] = []
    scan = os.scandir
    listing.os.scandir = lambda path: (seen.append(str(path)), scan(path))[1]
    ready.wait()
    files = keyed_files(folder, SUFFIXES)
    queue.put((len(seen), len(files)))


def test_processes_that_start_together(folder):
    """Each begins; those that do not hold the lock take the list of the one that does."""
    for number in range(30):
        (folder / f"f{number:02d}").mkdir()
        (folder / f"f{number:02d}" / "a.jpg").touch()
    settle(folder)
    context = multiprocessing.get_context("fork")
    ready, queue = context.Event(), context.Queue()
    processes = [context.Process(target=_list, args=(str(folder), ready, queue)) for _ in range(3)]
    for process in processes:
        process.start()
    ready.set()
    rows = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    assert [files for _, files in rows] == [33] * 3
    assert sorted(count >= 33 for count, _ in rows) == [False, False, True]
