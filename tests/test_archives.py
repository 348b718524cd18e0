"""Archives that are unpacked: what they hold arrives, and nothing else is written anywhere."""

import io
import stat
import tarfile
import zipfile

import pytest

from segkit.files import DataError
from segkit.readers.archives import archive_stem, unpack


def zipped(path, *members, mode=0):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return path


def tarred(path, name="a.txt", kind=tarfile.REGTYPE, content=b"a", link=""):
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        info.size = len(content) if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(content))
    return path


def test_what_is_in_it_arrives(tmp_path):
    path = zipped(tmp_path / "a.zip", ("x/ü.txt", b"1"), ("__MACOSX/._x", b"2"), ("x/.DS_Store", b"3"), ("y.txt", b""))
    found = unpack(path, tmp_path / "a")
    assert (found.files, found.is_old) == (2, False)
    assert sorted(p.relative_to(found.folder).as_posix() for p in found.folder.rglob("*.*")) == ["x/ü.txt", "y.txt"]
    assert unpack(path, tmp_path / "a").is_old
    assert (unpack(tarred(tmp_path / "t.tgz", "./b/a.txt"), tmp_path / "t").folder / "b/a.txt").read_bytes() == b"a"
    (tmp_path / "a" / "y.txt").write_text("changed")
    with pytest.raises(DataError, match="is there already and differs from"):
        unpack(path, tmp_path / "a")


def test_names_of_archives(tmp_path):
    names = {"a.b.tar.gz": "a.b", "x.ZIP": "x", "labels.json": None, "scan.nii.gz": None}
    assert {name: archive_stem(tmp_path / name) for name in names} == names


LINK = stat.S_IFLNK | 0o777


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: zipped(p / "a.zip", ("../out.txt", b"1")), "outside of"),
        (lambda p: zipped(p / "a.zip", ("/etc/out.txt", b"1")), "outside of"),
        (lambda p: zipped(p / "a.zip", ("C:\\out.txt", b"1")), "outside of"),
        (lambda p: zipped(p / "a.zip", ("x\\..\\..\\out.txt", b"1")), "outside of"),
        (lambda p: zipped(p / "a.zip", ("a", b"/etc/passwd"), mode=LINK), "is a link, which is not unpacked"),
        (lambda p: zipped(p / "a.zip", ("a", b"1"), ("a/b", b"1")), "has the name of another file or folder"),
        (lambda p: zipped(p / "a.zip"), "holds no file"),
        (lambda p: tarred(p / "a.tar.gz", "../out.txt"), "outside of"),
        (lambda p: tarred(p / "a.tar.gz", "a", tarfile.SYMTYPE, link="/etc/passwd"), "is a link"),
        (lambda p: tarred(p / "a.tar.gz", "a", tarfile.LNKTYPE, link="b"), "is a link"),
        (lambda p: tarred(p / "a.tar.gz", "a", tarfile.FIFOTYPE), "is no regular file"),
    ],
)
def test_what_leads_out_is_refused(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        unpack(make(tmp_path), tmp_path / "deep" / "er" / "a")
    assert not list(tmp_path.rglob("out.txt")) and not (tmp_path / "deep" / "er" / "a").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_sizes_are_bounded_and_damage_is_named(tmp_path, monkeypatch):
    path = zipped(tmp_path / "a.zip", ("zeros", bytes(100_000)), ("more", b"1" * 5000))
    monkeypatch.setenv("SEGKIT_MAX_UNPACKED", "90000")
    with pytest.raises(DataError, match="more than 90,000 bytes unpacked; set SEGKIT_MAX_UNPACKED"):
        unpack(path, tmp_path / "a")
    monkeypatch.delenv("SEGKIT_MAX_UNPACKED")
    monkeypatch.setenv("SEGKIT_MAX_MEMBERS", "1")
    with pytest.raises(DataError, match="more than 1 files"):
        unpack(path, tmp_path / "a")
    monkeypatch.delenv("SEGKIT_MAX_MEMBERS")
    content = bytearray(path.read_bytes())
    content[60] ^= 255  # in the packed zeros
    (tmp_path / "bad.zip").write_bytes(content)
    (tmp_path / "cut.zip").write_bytes(path.read_bytes()[:80])
    (tmp_path / "cut.tar.gz").write_bytes(tarred(tmp_path / "t.tgz", content=bytes(range(256)) * 99).read_bytes()[:90])
    for name in ("bad.zip", "cut.zip", "cut.tar.gz"):
        with pytest.raises(DataError, match=r"damaged archive \(.*\); download or pack it again"):
            unpack(tmp_path / name, tmp_path / "a")
    assert not (tmp_path / "a").exists()
