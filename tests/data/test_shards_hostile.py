"""Shards that somebody made to do harm, or that broke: refused in a sentence, nothing is written or run."""

import gzip
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from segkit.data.interactive.shards import ShardClicks
from segkit.data.semantic.shards import Shards
from segkit.data.shards.index import ShardIndex, unpacked
from segkit.data.shards.reader import File
from segkit.files import DataError
from tests.data.test_shards import few, sample_of, tar

RNG = np.random.default_rng(0)
TWO = ["a", "b"]


@pytest.fixture(autouse=True)
def unharmed(tmp_path, monkeypatch):
    """A folder of work and a cache; no file may appear elsewhere, and no other kind of file in the cache."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    yield
    assert {path.name for path in tmp_path.iterdir()} <= {"work", "cache"} and not [*tmp_path.rglob("pwned*")]


def refused(*, urls: str = "a.tar", match: str = "", **options: object) -> str:
    with pytest.raises(DataError, match=match) as found:
        shards = Shards(urls, TWO, **options)
        for index in range(len(shards)):
            shards.sample(index, RNG)
    text = str(found.value)
    assert 0 < len(text) < 1000 and "Traceback" not in text
    return text


def of_member(path: Path, **fields: object) -> Path:
    """A shard of a good sample and a member with these fields of its header, in GNU's form."""
    few(path, ["good"])
    content = path.read_bytes()
    info = tarfile.TarInfo("x.jpg")
    for name, value in fields.items():
        setattr(info, name, value)
    path.write_bytes(
        content[: len(content.rstrip(b"\0")) // 512 * 512 + 512] + info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    )
    return path


MEMBERS = {
    "absolute": (dict(name="/etc/pwned.jpg"), "outside of"),
    "upwards": (dict(name="../pwned.jpg"), "outside of"),
    "link": (dict(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
    "hard_link": (dict(type=tarfile.LNKTYPE, linkname="good.jpg"), "is a link"),
    "device": (dict(type=tarfile.CHRTYPE), "is a device"),
    "fifo": (dict(type=tarfile.FIFOTYPE), "is a FIFO"),
    "sparse": (dict(type=tarfile.GNUTYPE_SPARSE), "a file with holes"),
    "unknown": (dict(type=b"Z"), "unknown type"),
    "negative": (dict(size=-512), "states -512 bytes"),
    "huge": (dict(size=1 << 62), r"states 4,611,686,018,427,387,904 bytes"),
    "beyond": (dict(size=1 << 20), "breaks off"),
    "long_name": (dict(type=tarfile.GNUTYPE_LONGNAME, size=1 << 20), "breaks off"),
    "pax_breaks_off": (dict(type=tarfile.XHDTYPE, size=1 << 20), "breaks off"),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_members_that_are_no_files(case):
    fields, why = MEMBERS[case]
    of_member(Path("a.tar"), **fields)
    text = refused(match=why)
    assert "a.tar" in text
    assert "a.tar" in Shards(["a.tar", str(few(Path("b.tar"), ["k"]))], TWO, skip_damaged=True).notes[0]


@pytest.mark.parametrize(
    "record, why",
    [
        (b"20 GNU.sparse.map=1\n", "with holes"),
        (b"11 size=-5\n", "states '-5' bytes"),
        (b"99 path=x\n", "cannot be read"),
        (b"x" * 20, "cannot be read"),
        (b"9 path=\xff\n", "no UTF-8"),
        (b"20 path=/pwned1.jpg\n", "outside of"),
        (b"31 size=9999999999999999999999\n", "states '9999999999999999999999' bytes"),
    ],
)
def test_headers_that_lie(record, why):
    head = tarfile.TarInfo("pax")
    head.type, head.size = tarfile.XHDTYPE, len(record)
    member = tarfile.TarInfo("x.jpg")
    blocks = head.tobuf(tarfile.GNU_FORMAT) + record + bytes(-len(record) % 512) + member.tobuf(tarfile.GNU_FORMAT)
    Path("a.tar").write_bytes(blocks + bytes(1024))
    refused(match=why)


def test_files_that_are_no_shards():
    packed = gzip.compress(few(Path("g.tar"), ["k"]).read_bytes())
    cases = {
        b"": "breaks off at byte 0",
        b"x" * 2000: "no tar file",
        bytes(4096): "no sample",
        packed: "no tar|breaks off",
    }
    for content, why in cases.items():
        Path("a.tar").write_bytes(content)
        refused(match=why)


def test_samples_that_are_not_together():
    one = sample_of(1)
    tar(Path("a.tar"), {"a.jpg": one["jpg"], "b.jpg": one["jpg"], "a.png": one["png"]})
    refused(match="the files of 'a' do not lie together")
    with tarfile.open("b.tar", "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("a.jpg"))
    refused(urls="b.tar", match=r"'a\.jpg' is there twice")
    tar(Path("c.tar"), {f"a.{number}.jpg": one["jpg"] for number in range(70)})
    refused(urls="c.tar", match="more than 64 kinds of files")


def bad_indices(good: bytes, size: int) -> dict[str, bytes]:
    index = unpacked(np.frombuffer(good, np.uint8), "i")
    table, ends = index.table.copy(), index.ends.copy()
    table[0, 0, 0], ends[-1] = 1 << 31, 1 << 31
    return {
        "empty": b"x",
        "no_index": b"x" * 100,
        "breaks_off": good[:-8],
        "head_only": good[:24],
        "long_head": good[:16] + (1 << 60).to_bytes(8, "little") + good[24:],
        "no_json": good[:24] + b"x" * 30 + good[54:],
        "far_sample": ShardIndex(index.kinds, table, index.ends, index.letters, size).packed(),
        "far_key": ShardIndex(index.kinds, index.table, ends, index.letters, size).packed(),
        "other_size": ShardIndex(index.kinds, index.table, index.ends, index.letters, size - 512).packed(),
    }


def with_index(path: Path) -> dict[str, bytes]:
    """Indices that are wrong, for a shard of two samples."""
    few(path, ["a", "b"])
    from segkit.data.shards.index import scanned

    with path.open("rb") as file:
        index = scanned(file, path.stat().st_size, "a")
    return bad_indices(index.packed(), path.stat().st_size)


def test_indices_that_lie():
    for case, content in with_index(Path("a.tar")).items():
        Path("a.tar.index").write_bytes(content)
        text = refused(match=r"a\.tar")
        assert "remove the index" in text or "breaks off" in text or "copy" in text, (case, text)
    huge = b'{"kinds":["jpg"],"samples":99999999999999,"letters":0,"size":9,"sha256":""}'
    head = huge + b" " * (-len(huge) % 8)
    Path("a.tar.index").write_bytes(b"segkit shard 1\n\0" + len(head).to_bytes(8, "little") + head)
    refused(match="breaks off")
    head = huge.replace(b"99999999999999", b"1e999") + b" " * 5  # infinity, which no whole number is
    Path("a.tar.index").write_bytes(b"segkit shard 1\n\0" + len(head).to_bytes(8, "little") + head)
    refused(match="without the numbers of its files")


@pytest.mark.parametrize(
    "content",
    ["", "[", "[]", "{}", '{"shards": 3}', '{"shards": [{"file": "../pwned.tar"}]}', '{"shards": ["/etc/pwned.tar"]}',
     '{"shards": [{"file": ".."}]}', '{"shards": [null]}', '{"shards": [{"file": "a\\\\b.tar"}]}',
     '{"shardlist": [{"url": "http://x/a.tar"}]}'],
)  # fmt: skip
def test_lists_that_lie(content):
    Path("shards.json").write_text(content)
    refused(urls="shards.json", match=r"shards\.json")


@pytest.mark.parametrize(
    "about",
    [dict(task="other"), dict(task=7), dict(task="semantic"), dict(task="semantic", classes=3),
     dict(task="semantic", classes=["a"], palette=[[1]]), dict(task="semantic", classes=["a"], reading=dict(scale=3)),
     dict(task="semantic", classes=["a"], channels="x"), dict(task="semantic", classes=["a"], ignore=[])],
)  # fmt: skip
def test_contents_that_lie(about):
    few(Path("a.tar"), ["k"])
    Path("shards.json").write_text(json.dumps(dict(format="segkit shards 1", shards=[dict(file="a.tar")], **about)))
    refused(match=r"a\.tar")


def test_fuzz():
    """Bytes of a shard and of its index changed or cut off at random: a sentence, or samples of the right shape."""
    few(Path("a.tar"), ["a", "b", "c"])
    with_index(Path("b.tar"))
    sources = {"a.tar": Path("a.tar").read_bytes()}
    few(Path("a.tar"), ["a", "b", "c"])
    rng = np.random.default_rng(3)
    refusals = 0
    for number in range(150):
        content = bytearray(sources["a.tar"])
        heads = [0, 1024, 2048, 3072, 4096]
        for _ in range(int(rng.integers(1, 4))):
            place = (
                int(rng.choice(heads)) + int(rng.integers(0, 512))
                if rng.random() < 0.7
                else int(rng.integers(len(content)))
            )
            content[min(place, len(content) - 1)] = int(rng.integers(256))
        if rng.random() < 0.3:
            del content[int(rng.integers(len(content))) :]
        path = Path(f"f{number}.tar")
        path.write_bytes(content)
        try:
            shards = Shards(str(path), TWO, image="jpg", mask="png")
            for index in range(len(shards)):
                assert shards.sample(index, rng)["image"].shape[2] == 3
        except DataError as error:
            refusals += 1
            assert path.name in str(error), error
        path.unlink()
    assert 50 < refusals < 150


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ('{"1": [0, 1, 2, []]}', "part of one that is not there"),
        ('{"1": [0, 1, [2], []]}', "part of one that is not there"),
        ('{"1": [1e999, 1, null, []]}', "no list of objects"),
        ('{"1": [0, 1, null, [1e999]]}', "no list of objects"),
        ('{"1": [3, 1, null, []]}', "beyond its 1 layers"),
    ],
)
def test_objects_that_lie(objects, message):
    class Files:
        def need(self, index: int, kinds: tuple[str, ...]) -> File:
            return File("s.tar/a.objects.json", b'{"layers": 1, "objects": %s, "ignored": []}' % objects.encode())

    clicks = ShardClicks.__new__(ShardClicks)
    clicks.shards = Files()
    with pytest.raises(DataError, match=message):
        clicks.packed(0, RNG)
