"""Shards: tar files of samples, their index, their copies, writing them, and what they do to a stream of images."""

import http.server
import io
import json
import multiprocessing
import os
import pickle
import shutil
import tarfile
import threading
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from segkit.cli.main import main
from segkit.data.concat import Concat
from segkit.data.files.labels import LabelError
from segkit.data.instances.shapes import ShapesInstances
from segkit.data.instances.shards import ShardInstances
from segkit.data.interactive.shapes import ShapesClicks
from segkit.data.interactive.shards import ShardClicks
from segkit.data.loader import TrainItems, train_loader
from segkit.data.preflight import check_dataset
from segkit.data.prepare.shards import write_shards
from segkit.data.samplers import ShardShuffle, Shuffle, batches
from segkit.data.semantic.folder import Folder
from segkit.data.semantic.shards import Shards
from segkit.data.shards import cache as cache_module
from segkit.data.shards import gather, remote
from segkit.data.shards.addresses import expand
from segkit.data.shards.cache import ShardCache
from segkit.data.shards.index import ShardIndex, as_id, as_key
from segkit.data.splits.split import Fold, Split
from segkit.data.statistics import class_statistics
from segkit.files import DataError
from segkit.registry import ConfigError

TWO = ["ground", "cell"]
RNG = np.random.default_rng(0)


def folder_of(root: Path, count: int = 20) -> Folder:
    """Images with a dot in their names and masks of 0 and 255, of which a row more is the cell in each."""
    rng = np.random.default_rng(1)
    for number in range(count):
        for folder in ("images", "masks"):
            (root / folder / "deep").mkdir(parents=True, exist_ok=True)
        mask = np.zeros((24, 32), np.uint8)
        mask[: number % 20 + 1] = 255
        stem = f"{'deep/' if number % 2 else ''}c.{number:03d}"
        cv2.imwrite(str(root / "images" / f"{stem}.jpg"), rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        cv2.imwrite(str(root / "masks" / f"{stem}.png"), mask)
    return Folder(str(root), TWO, label_map={255: 1})


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Folder]:
    """A folder, and in `out` the shards of its 20 images, four or five in each."""
    root = tmp_path_factory.mktemp("shards")
    folder = folder_of(root / "cells")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGKIT_CACHE", str(root / "cache"))
        write_shards(folder, root / "out", stem="train", size=20_000, processes=1, resume=False)
    return root, folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PAUSE", 0.0)


def png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


def tar(path: Path, files: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> Path:
    """A tar file by Python's own writer, which segkit's does not share."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def sample_of(value: int) -> dict[str, bytes]:
    image = np.full((4, 5, 3), value, np.uint8)
    return {"jpg": cv2.imencode(".jpg", image)[1].tobytes(), "png": png(np.full((4, 5), value % 2, np.uint8))}


def few(path: Path, keys: list[str], form: int = tarfile.GNU_FORMAT) -> Path:
    samples = {key: sample_of(number) for number, key in enumerate(keys)}
    return tar(path, {f"{key}.{kind}": data for key, files in samples.items() for kind, data in files.items()}, form)


def equal(a: dict, b: dict) -> bool:
    return np.array_equal(a["image"], b["image"]) and np.array_equal(a["mask"], b["mask"])


# reading


def test_shards_hold_what_the_folder_holds(made):
    root, folder = made
    shards = Shards(str(root / "out"))
    assert list(shards.ids) == list(folder.ids) and shards.classes == ("ground", "cell")
    assert len(shards.shards.names) > 3 and shards.count_masks() == 20
    assert shards.palette == folder.palette and shards.notes == ()
    for index in (19, 0, 7, 12):
        assert equal(shards.sample(index, RNG), folder.sample(index, RNG))
        assert shards.content(index) == Path(folder.path(index)).read_bytes()
    assert shards.path(0).endswith("train-000000.tar/c%2E000.jpg") and shards.mask_path(0).endswith(".mask.png")
    assert equal(pickle.loads(pickle.dumps(shards)).sample(3, RNG), folder.sample(3, RNG))


def test_webdataset_reads_what_segkit_writes_and_the_other_way(made, tmp_path):
    wds = pytest.importorskip("webdataset")
    root, folder = made
    names = sorted(str(path) for path in (root / "out").glob("*.tar"))
    read = [*wds.WebDataset(names, shardshuffle=False, empty_check=False).to_tuple("__key__", "jpg", "mask.png")]
    assert [as_id(key) for key, _, _ in read] == list(folder.ids)
    for index, (_, image, mask) in enumerate(read):
        assert image == Path(folder.path(index)).read_bytes()
        decoded = cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(decoded, folder.mask(index))
    for number in range(2):
        with wds.TarWriter(str(tmp_path / f"w-{number}.tar")) as writer:
            for row in range(3):
                key = f"{number}/k{row}" + "é" * 60 * number  # a name longer than a header has room for
                writer.write({"__key__": key, **sample_of(10 * number + row), "json": {"row": row}})
    shards = Shards(str(tmp_path / "w-{0..1}.tar"), TWO)
    assert len(shards) == 6 and shards.ids[1] == "0/k1" and shards.ids[4] == "1/k1" + "é" * 60
    assert [int(shards.image(index)[0, 0, 0]) for index in range(6)] == [0, 1, 2, 10, 11, 12]
    assert [int(shards.mask(index)[0, 0]) for index in range(6)] == [0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar(tmp_path, form):
    keys = ["a", "folder/" * 9 + "b", "f" * 90 + "/" + "c" * 60]
    few(tmp_path / "a.tar", keys, form)
    shards = Shards(str(tmp_path / "a.tar"), TWO)
    assert list(shards.ids) == keys and shards.sample(2, RNG)["image"][0, 0, 0] == 2


def test_names_of_other_writers(tmp_path):
    content = sample_of(1)
    files = {"./d/": b"", "./d/a.seg.png": content["png"], "./d/a.PNG": png(np.full((4, 5, 3), 9, np.uint8))}
    files |= {"__meta__": b"x", "readme": b"x", "d/._b.jpg": b"x", "d/.hidden.jpg": b"x"}
    shards = Shards(str(tar(tmp_path / "a.tar", files)), TWO)
    assert list(shards.ids) == ["d/a"] and shards.image(0)[0, 0, 0] == 9 and shards.mask(0)[0, 0] == 1
    with pytest.raises(DataError, match=r"1 of 1 samples have no mask \(suffixes: \.jpg; .*unlabelled=True"):
        Shards(str(tar(tmp_path / "b.tar", {"a.jpg": content["jpg"]})), TWO)
    images = Shards(str(tmp_path / "b.tar"), TWO, unlabelled=True)
    assert "mask" not in images.sample(0, RNG) and not images.has_mask(0)
    with pytest.raises(DataError, match="give classes="):
        Shards(str(tmp_path / "b.tar"))
    named = Shards(str(tar(tmp_path / "c.tar", {"a.x.png": content["png"], "a.y.png": content["png"]})), TWO,
                   image="x.png", mask="y.png", channels=1)  # fmt: skip
    assert named.sample(0, RNG)["mask"][0, 0] == 1


def test_equal_keys_of_two_shards_are_told_apart(tmp_path):
    for name in ("a", "b"):
        few(tmp_path / f"{name}.tar", ["000", "001"])
    assert list(Shards(str(tmp_path), TWO).ids) == ["a/000", "a/001", "b/000", "b/001"]


def test_a_key_with_dots_comes_back():
    for name in ("a.b", "x.y/a.b.c", "a%2Eb", "50%", "plain"):
        assert as_id(as_key(name)) == name and "." not in as_key(name).rpartition("/")[2]


def test_addresses():
    assert [*expand("a-{08..11}.tar")] == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert [*expand("{x,y}/{1..2}")] == ["x/1", "x/2", "y/1", "y/2"] and [*expand("plain")] == ["plain"]
    assert [*expand("{9..10}")] == ["9", "10"]
    for text, why in (("{1..", "not closed"), ("{2..1}", "count upwards"), ("{a}", "neither a range"),
                      ("{0..9999999}", "count upwards"), ("{0..9999}{0..9999}", "1,000,000 at most")):  # fmt: skip
        with pytest.raises(DataError, match=why):
            [*expand(text)]


@pytest.mark.parametrize(
    "urls, why",
    [("pipe:curl x |", "commands are not run"), ([], "names no shard"), ("", "must be the address"),
     ("no-{0..2}.tar", "3 of 3 shards are missing: no-0.tar, no-1.tar, no-2.tar"), ("no*.tar", "no file matches"),
     ("nosuch://a.tar", "no kind of address"), (["a.tar", "a.tar"], "named twice")],
)  # fmt: skip
def test_urls_that_name_nothing(urls, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=why):
        Shards(urls, TWO)


# a list with holes, damage


def copied(made: tuple[Path, Folder], place: Path) -> Path:
    shutil.copytree(made[0] / "out", place)
    return place


def test_a_missing_shard_is_named_or_passed_over(made, tmp_path):
    out = copied(made, tmp_path / "out")
    whole = Shards(str(out))
    (out / "train-000001.tar").unlink()
    with pytest.raises(DataError, match=r"1 of \d shards are missing: .*train-000001\.tar; .*skip_damaged=True"):
        Shards(str(out))
    shards = Shards(str(out), skip_damaged=True)
    gone = int(whole.blocks[2] - whole.blocks[1])
    assert len(shards) == 20 - gone and "1 shards are passed over" in shards.notes[0]
    assert [*shards.ids] == [*whole.ids[: int(whole.blocks[1])], *whole.ids[int(whole.blocks[2]) :]]
    assert equal(shards.sample(len(shards) - 1, RNG), made[1].sample(19, RNG))
    report = check_dataset(shards, 2)
    assert report.is_ok and any("train-000001" in line for line in report.warnings)


def test_a_shard_that_breaks_off(made, tmp_path):
    out = copied(made, tmp_path / "out")
    path = out / "train-000002.tar"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"train-000002\.tar: breaks off: [\d,]+ of the [\d,]+ bytes"):
        Shards(str(out))
    Path(f"{path}.index").unlink()
    with pytest.raises(DataError, match=r"train-000002\.tar: breaks off"):
        Shards(str(path), TWO)
    assert len(Shards(str(out), skip_damaged=True).shards.names) == len(Shards(str(made[0] / "out")).shards.names) - 1
    path.write_bytes(content[:-1024])  # whole files, without the end of the archive
    with pytest.raises(DataError, match="without the end"):
        Shards(str(path), TWO)


def test_a_damaged_sample_is_named_or_replaced_once_told(made, tmp_path, capsys):
    out = copied(made, tmp_path / "out")
    shards, skipping = Shards(str(out)), Shards(str(out), skip_damaged=True)
    offset, size = shards.shards.indices[1].place(1, 0)
    first = int(shards.blocks[1])
    path = out / "train-000001.tar"
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = bytes(size)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train-000001\.tar/.*\.jpg: cannot be decoded"):
        shards.sample(first + 1, RNG)
    assert equal(skipping.sample(first + 1, RNG), made[1].sample(first + 2, RNG))
    skipping.sample(first + 1, RNG)
    told = capsys.readouterr().err
    assert told.count("warning") == 1 and "train-000001.tar/" in told
    assert len(skipping) == 20
    content[offset - 512 : offset] = bytes(512)
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"\.jpg: not at byte {offset}, where the index has it"):
        shards.sample(first + 1, RNG)


def test_labels_beyond_the_classes_are_never_passed_over(tmp_path):
    few(tmp_path / "a.tar", ["a", "b"])
    with pytest.raises(LabelError, match=r"a\.tar/b\.png: label 1"):
        Shards(str(tmp_path / "a.tar"), ["one"], skip_damaged=True).sample(1, RNG)


def test_a_changed_shard_is_read_anew(tmp_path):
    path = few(tmp_path / "a.tar", [f"k{number}" for number in range(9)])
    assert len(Shards(str(path), TWO)) == 9
    few(path, ["one"])
    assert list(Shards(str(path), TWO).ids) == ["one"]


# elsewhere


class Server(http.server.SimpleHTTPRequestHandler):
    """Counts what is asked of it; breaks off the first answers of a shard, as many as `broken` says."""

    asked: list[str] = []
    broken = 0

    def do_GET(self):
        Server.asked.append(self.path)
        if self.path.endswith("0.tar") and Server.broken:
            Server.broken -= 1
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"x" * 1000)
            return
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(made):
    Server.asked, Server.broken = [], 0
    handler = partial(Server, directory=str(made[0] / "out"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_shards_of_a_web_server(made, server, tmp_path):
    Server.broken = 2
    shards = Shards(f"{server}/shards.json")
    assert not [path for path in Server.asked if path.endswith(".tar")]  # nothing is copied before it is read
    for index in (0, 19, 1):
        assert equal(shards.sample(index, RNG), made[1].sample(index, RNG))
    tars = [path for path in Server.asked if path.endswith(".tar")]
    assert tars.count("/train-000000.tar") == 3 and len(set(tars)) == 2  # two answers broke off, and each came once
    assert not [*(tmp_path / "cache" / "shards").glob("*.part")]
    again = Shards(f"{server}/shards.json")
    assert equal(again.sample(0, RNG), made[1].sample(0, RNG))
    assert len([path for path in Server.asked if path.endswith(".tar")]) == len(tars)
    assert len([path for path in Server.asked if path.endswith(".index")]) == len(shards.shards.names)


def test_a_server_that_never_answers_whole(made, server):
    shards = Shards(f"{server}/shards.json")
    Server.broken = 99
    with pytest.raises(DataError, match=r"0\.tar: cannot be fetched in 5 attempts \(1,000 of 1,000,000 bytes came\)"):
        shards.sample(0, RNG)
    assert Server.broken == 94
    Server.broken = 0
    with pytest.raises(DataError, match="HTTP 404"):
        Shards(f"{server}/none-{{0..1}}.tar", TWO)
    holes = Shards([f"{server}/train-000001.tar", f"{server}/none.tar"], skip_damaged=True)
    assert len(holes.shards.skipped) == 1 and equal(holes.sample(0, RNG), made[1].sample(int(shards.blocks[1]), RNG))


def test_checksums_are_compared(made, server, tmp_path, monkeypatch):
    shards = Shards(f"{server}/shards.json")
    wrong = [shard._replace(sha256="0" * 64) for shard in shards.shards._shards]
    monkeypatch.setattr(shards.shards, "_shards", wrong)
    with pytest.raises(DataError, match=r"train-000000\.tar: came with another checksum"):
        shards.sample(0, RNG)
    assert not [*(tmp_path / "cache" / "shards").glob("*.tar")]


def test_any_address_of_fsspec(made):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(str(made[0] / "out"), "/set", recursive=True)
    shards = Shards("memory://set/shards.json")
    assert equal(shards.sample(11, RNG), made[1].sample(11, RNG))
    for name in memory.glob("/set/*.index"):
        memory.rm(name)
    count = len(shards.shards.names)
    scanned = Shards(f"memory://set/train-{{000000..{count - 1:06d}}}.tar", cache_gb=1.0)
    assert list(scanned.ids) == list(shards.ids)
    local = Shards(f"file://{made[0]}/out")
    assert equal(local.sample(11, RNG), made[1].sample(11, RNG))


@pytest.mark.parametrize("address, package", [("s3://b/a.tar", "s3fs"), ("gs://b/a.tar", "gcsfs")])
def test_a_package_that_is_missing(address, package):
    fsspec = pytest.importorskip("fsspec")
    try:
        fsspec.get_filesystem_class(address[:2])
    except ImportError:
        with pytest.raises(DataError, match=f"pip install {package}"):
            Shards(address, TWO)
    else:
        pytest.skip("it is installed")


def test_fsspec_itself_is_missing(monkeypatch):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(remote.importlib, "import_module", missing)
    with pytest.raises(DataError, match=r'pip install "segkit\[stream\]"'):
        Shards("s3://b/a.tar", TWO)


def test_the_least_recently_used_copies_make_room(made, server, tmp_path, monkeypatch):
    shards = Shards(f"{server}/shards.json")
    sizes = [found.size for found in shards.shards.indices]
    cache = ShardCache(str(tmp_path / "copies"), (sizes[0] + sizes[1] + sizes[2]) / 1e9)
    names = shards.shards.names
    for number in (0, 1, 2):
        os.utime(cache.local(names[number], sizes[number]), (number + 1, number + 1))
    os.utime(cache.place(names[0]), (9, 9))  # 0 was used after 1 and 2
    cache.local(names[3], sizes[3])
    assert [cache.place(names[number]).exists() for number in range(4)] == [True, False, True, True]
    with pytest.raises(DataError, match=r"cache_gb = 1e-06 in all"):
        ShardCache(str(tmp_path / "copies"), 1e-6).local(names[1], sizes[1])
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="copies of shards cannot be written"):
        ShardCache(str(tmp_path / "file")).local(names[1], sizes[1])


def _copy(folder: str, address: str, ready) -> None:
    ready.wait()
    ShardCache(folder).local(address)


def test_processes_that_want_one_shard_copy_it_once(made, server, tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    address = f"{server}/train-000001.tar"
    place = ShardCache(str(tmp_path)).place(address)
    left = place.with_name(f".{place.name}.999999.part")  # of a process that was killed
    left.write_bytes(b"half")
    workers = [context.Process(target=_copy, args=(str(tmp_path), address, ready)) for _ in range(3)]
    for worker in workers:
        worker.start()
    ready.set()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert Server.asked.count("/train-000001.tar") == 1 and not left.exists()
    assert place.read_bytes() == (made[0] / "out" / "train-000001.tar").read_bytes()


# the stream


def stream_of(sampler, batch: int, world: int, steps: int, start: int = 0) -> list[int]:
    """The images of `steps` global batches, joined over the processes."""
    streams = [batches(sampler, batch, start=start, rank=rank, world_size=world) for rank in range(world)]
    return [index for _ in range(steps) for stream in streams for _, index in next(stream)]


def test_every_image_once_an_epoch_from_few_shards_at_a_time(made):
    shards = Shards(str(made[0] / "out"))
    sampler = ShardShuffle(shards, 3, shards=2)
    first, second = ([sampler.index(20 * epoch + i) for i in range(20)] for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(20)) and first != second != list(range(20))
    of_shard = [shards.shards.locate(index)[0] for index in first]
    order = [*dict.fromkeys(of_shard)]
    for place in range(0, len(order), 2):
        places = [i for i, shard in enumerate(of_shard) if shard in order[place : place + 2]]
        assert places == list(range(places[0], places[-1] + 1))  # a pair of shards is read to its end
    assert set(of_shard[:4]) == set(order[:2])  # and mixed
    one = stream_of(ShardShuffle(shards, 3, shards=2), 4, 1, 10)
    assert one == stream_of(ShardShuffle(shards, 3, shards=2), 2, 2, 10) == [*first, *second]
    assert one[12:] == stream_of(ShardShuffle(shards, 3, shards=2), 1, 4, 7, start=3)  # resumed with four processes
    assert sampler.index(17) == first[17] and sampler.index(2) == first[2]  # in any order


def test_workers_change_nothing(made):
    shards = Shards(str(made[0] / "out"))
    streams = []
    for workers in (0, 2):
        items = TrainItems(shards, [], 0)
        loader = train_loader(items, ShardShuffle(shards, 1, shards=2), batch_size=5, workers=workers, start=1)
        streams.append([[meta["id"] for meta in next(loader)["meta"]] for _ in range(3)])
    expected = [shards.ids[ShardShuffle(shards, 1, shards=2).index(position)] for position in range(5, 20)]
    assert streams[0] == streams[1] and [name for batch in streams[0] for name in batch] == expected


def test_a_start_opens_no_index(tmp_path, monkeypatch):
    """Of 40,000 samples: what is read of an index at the start would be read of 10,000,000, too."""
    for number in range(20):
        table = np.zeros((2000, 2, 2), np.uint32)
        table[:, 0, 0] = 1 + 4 * np.arange(2000)
        table[:, 1, 0], table[..., 1] = table[:, 0, 0] + 2, 300
        letters = np.frombuffer(b"".join(b"%06d" % (2000 * number + row) for row in range(2000)), np.uint8)
        ends = 6 * (1 + np.arange(2000, dtype=np.uint32))
        path = tmp_path / f"a-{number:02d}.tar"
        size = 512 * (4 * 2000 + 3)
        with open(path, "wb") as file:
            file.truncate(size)
        Path(f"{path}.index").write_bytes(ShardIndex(("jpg", "png"), table, ends, letters, size).packed())
    urls = f"{tmp_path}/a-{{00..19}}.tar"
    first = Shards(urls, TWO)
    (file,) = (tmp_path / "cache" / "index").glob("*.index")  # one file for all processes
    time = file.stat().st_mtime_ns
    monkeypatch.setattr(gather, "_index", None)  # whatever would read a shard or its index again fails
    shards = Shards(urls, TWO)
    assert len(shards) == 40_000 and shards.count_masks() == 40_000 and file.stat().st_mtime_ns == time
    assert not shards.shards.indices._cache and isinstance(shards.shards.indices._records._blob, np.memmap)
    assert shards.ids[31_234] == first.ids[31_234] == "031234" and shards.path(0) == f"{tmp_path}/a-00.tar/000000.jpg"
    assert len(pickle.dumps(shards)) < 100_000  # spawned workers get the name of the file; a key alone is 6 bytes
    with pytest.raises(DataError, match=r"a-15\.tar/031234\.jpg: not at byte"):
        shards.image(31_234)


def test_parts_and_joins_of_shards(made):
    shards = Shards(str(made[0] / "out"))
    part = Split(shards, "train", (0.5, 0.5), stratify=False)
    files = [shards.shards.locate(index)[0] for index in part.kept]
    expected = [sum(file < number for file in files) for number in range(len(shards.shards.names) + 1)]
    assert part.blocks.tolist() == expected
    assert sorted(ShardShuffle(part, 0, shards=2).index(i) for i in range(len(part))) == list(range(len(part)))
    both = Concat([shards, shards])
    assert both.blocks.tolist() == [*shards.blocks, *(20 + shards.blocks[1:])]
    folds = [Fold(shards, 4, fold, only=True) for fold in range(4)]
    assert sorted(name for fold in folds for name in fold.ids) == sorted(shards.ids)
    same = [Fold(made[1], 4, fold, only=True).ids for fold in range(4)]
    assert [fold.ids for fold in folds] == same  # as the folder is dealt
    with pytest.raises(ConfigError, match="Folder has no shards; use Shuffle"):
        ShardShuffle(made[1])


def test_the_next_shards_are_copied_ahead(made, server, monkeypatch):
    shards = Shards(f"{server}/shards.json")
    asked: list[list[int]] = []
    monkeypatch.setattr(shards.shards, "read_ahead", lambda indices: asked.append(list(indices)))
    sampler = ShardShuffle(Concat([shards]), 0, shards=2)
    order = [shards.shards.locate(sampler.index(i))[0] for i in range(20)]
    names = [[shards.shards.locate(index)[0] for index in group] for group in asked]
    shown = [*dict.fromkeys(order)]
    assert [sorted(group) for group in names] == [sorted(shown[i : i + 2]) for i in range(2, len(shown), 2)]
    monkeypatch.undo()
    shards.shards.read_ahead([0])
    for thread in threading.enumerate():
        if thread.name.endswith("(_copy_all)"):
            thread.join(20)
    assert ShardCache().place(shards.shards.names[0]).is_file() or cache_module.shard_folder().is_dir()


def test_shuffle_is_the_permutation_of_its_seed(made):
    order = np.random.default_rng([5, 1]).permutation(20)
    assert [Shuffle(made[1], 5).index(20 + i) for i in range(20)] == order.tolist()


def test_statistics_and_their_cache(made, tmp_path):
    out = copied(made, tmp_path / "out")
    first = class_statistics(Shards(str(out)))
    assert first.pixels.tolist() == class_statistics(made[1]).pixels.tolist()
    file = next((tmp_path / "cache" / "statistics").glob("*.json"))
    shards = Shards(str(out))
    shards.sample(3, RNG)
    class_statistics(shards)
    assert len([*file.parent.glob("*.json")]) == 2  # of the folder and of the shards, once each


# other tasks


def test_instances(tmp_path):
    shapes = ShapesInstances(length=12)
    write_shards(shapes, tmp_path / "out", stem="train", size=60_000, processes=1, resume=False)
    shards = ShardInstances(str(tmp_path / "out"), boxes_only=False)
    assert len(shards.shards.names) > 2 and shards.classes == shapes.classes and list(shards.ids) == shapes.ids
    assert shards.sizes.tolist() == shapes.sizes.tolist()
    for index in (0, 11):
        a, b = shapes.sample(index, RNG), shards.sample(index, RNG)
        for key in ("image", "boxes", "labels", "crowd"):
            assert np.array_equal(a[key], b[key]), key
        assert len(b["masks"]) == len(b["labels"])
    truth = {entry["id"]: entry for entry in shapes.annotations["annotations"]}
    for entry in shards.annotations["annotations"]:
        assert {**entry, "area": int(entry["area"])} == {**truth[entry["id"]], "bbox": [*truth[entry["id"]]["bbox"]]}
    assert sorted(ShardShuffle(shards, 0, shards=2).index(i) for i in range(12)) == list(range(12))
    with pytest.raises(DataError, match="read them by type='ShardInstances'"):
        Shards(str(tmp_path / "out"))


def test_clicks(tmp_path):
    shapes = ShapesClicks(length=8)
    write_shards(shapes, tmp_path / "out", stem="train", size=60_000, processes=1, resume=False)
    shards = ShardClicks(str(tmp_path / "out"))
    for index in range(8):
        a, b = shapes.sample(index, np.random.default_rng(0)), shards.sample(index, RNG)
        assert np.array_equal(a["image"], b["image"]) and np.array_equal(a["layers"], b["layers"])
        assert a["objects"] == b["objects"] and a["ignored"] == b["ignored"]


def test_objects_that_cannot_be(tmp_path):
    image, layer = sample_of(1)["jpg"], png(np.zeros((4, 5), np.uint8))
    for number, about in enumerate(
        ([], {"layers": 1, "objects": {"1": [7, 1, None, []]}, "ignored": []},
         {"layers": 3, "objects": {}, "ignored": []}, {"layers": 1, "objects": {"1": [0, 1, 5, []]}, "ignored": []})
    ):  # fmt: skip
        files = {"a.jpg": image, "a.layers.png": layer, "a.json": json.dumps(about).encode()}
        shards = ShardClicks(str(tar(tmp_path / f"{number}.tar", files)))
        with pytest.raises(DataError, match=r"\.tar/a\."):
            shards.sample(0, RNG)
    (tmp_path / "shards.json").write_text(
        json.dumps(dict(format="segkit shards 1", task="instances", classes=["a"], categories=[dict(id=1, name="a")],
                        shards=[dict(file="i.tar")]))
    )  # fmt: skip
    for rows in (None, [3], [dict(category_id=9, bbox=[0, 0, 1, 1])], [dict(category_id=1)]):
        entry = dict(image=dict(height=4, width=5), annotations=rows)
        tar(tmp_path / "i.tar", {"a.jpg": image, "a.json": json.dumps(entry).encode()})
        with pytest.raises(DataError, match=r"i\.tar/a\.json"):
            ShardInstances(str(tmp_path / "shards.json"))


def test_overlapping_classes(tmp_path):
    planes = RNG.integers(0, 2, (4, 5, 2)).astype(np.uint8)
    stacked = np.concatenate([planes[:, :, 0], planes[:, :, 1]])
    path = tar(tmp_path / "a.tar", {"a.png": png(np.zeros((4, 5, 3), np.uint8)), "a.layers.png": png(stacked)})
    assert np.array_equal(Shards(str(path), TWO).mask(0), planes)
    with pytest.raises(DataError, match="8 rows are no 3 planes"):
        Shards(str(path), [*TWO, "third"]).mask(0)


# writing


CONFIG = "train = dict(dataset=dict(type='Folder', root='cells', classes=['ground', 'cell'], label_map={255: 1}))\n"


def test_the_command_writes_the_same_bytes_by_any_processes(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(made[0])
    Path("c.py").write_text(CONFIG)
    command = ["shard", "c.py", "--size", "20KB", "--out"]
    assert main([*command, str(tmp_path / "a"), "--processes", "2"]) == 0
    shown = capsys.readouterr().out
    assert "20 samples" in shown and "the image files as they are" in shown
    snippet = shown.splitlines()[-1].strip()
    (tmp_path / "b.py").write_text(snippet)
    for file in (tmp_path / "a").iterdir():
        other = made[0] / "out" / file.name
        assert other.read_bytes() == file.read_bytes(), file.name
    assert len([*(tmp_path / "a").iterdir()]) == len([*(made[0] / "out").iterdir()])
    assert main(["analyze", "classes", str(tmp_path / "b.py"), "--out", str(tmp_path / "c")]) == 0
    assert "Shards, train: 20 masks" in capsys.readouterr().out
    assert main(["analyze", "values", str(tmp_path / "b.py"), "--out", str(tmp_path / "c"), "--limit", "3"]) == 0
    assert "JPEG" in capsys.readouterr().out
    assert main([*command, str(tmp_path / "a")]) == 2 and "holds finished shards" in capsys.readouterr().err
    assert main([*command, "cells"]) == 2 and "is not empty" in capsys.readouterr().err
    assert (
        main(["shard", "c.py", "--out", "new", "--size", "5 lots"]) == 2 and "--size 5 lots" in capsys.readouterr().err
    )


def test_an_interrupted_run_goes_on(made, tmp_path, monkeypatch):
    """What a killed process leaves: whole shards, a draft, a journal whose last line broke off."""
    folder, out = made[1], tmp_path / "out"
    writing = partial(write_shards, folder, out, stem="train", size=20_000, processes=1)
    read, calls = Folder.mask, []

    def failing(self: Folder, index: int) -> np.ndarray:
        calls.append(index)
        if index == 12 and len(calls) > 20 + 12:  # after the trial of all
            raise KeyboardInterrupt
        return read(self, index)

    monkeypatch.setattr(Folder, "mask", failing)
    with pytest.raises(KeyboardInterrupt):
        writing(resume=False)
    monkeypatch.undo()
    whole = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    assert whole and len(whole) < len([*(made[0] / "out").glob("*.tar")])
    journal = out / "unfinished.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][:9])  # its last shard is whole all the same
    (out / ".train-000004.tar.1.part").write_bytes(b"half")
    with pytest.raises(DataError, match="continue it with --resume"):
        writing(resume=False)
    with pytest.raises(DataError, match="begun with other options"):
        write_shards(folder, out, stem="train", size=30_000, processes=1, resume=True)
    writing(resume=True)
    for name, time in whole.items():
        assert (out / name).stat().st_mtime_ns == time
    names = {path.name for path in out.iterdir()}
    assert names == {path.name for path in (made[0] / "out").iterdir()}
    for name in names:
        assert (out / name).read_bytes() == (made[0] / "out" / name).read_bytes()


def test_what_cannot_be_written(tmp_path, made):
    from segkit.data.interactive.folder import FolderClicksEval

    clicks = FolderClicksEval(str(made[0] / "cells"))
    with pytest.raises(DataError, match="an item is one object"):
        write_shards(clicks, tmp_path / "a", stem="val", size=20_000, processes=1, resume=False)
