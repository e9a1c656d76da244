"""Files of data: found, read plain or gzipped, downloaded, checked, refused."""

import functools
import gzip
import hashlib
import http.server
import struct
import threading

import pooch
import pytest
import torch

from probgen.data import fetch, listing, mnist, suggest, where
from probgen.data.files import SOURCES, File, Source, find

GREY = [bytes(range(i, i + 6)) for i in (0, 100, 200, 249)]
CONTENTS = {
    "train-images.gz": b"\0\0\x08\x03" + struct.pack(">3I", 3, 2, 3) + b"".join(GREY[:3]),
    "train-labels.gz": b"\0\0\x08\x01" + struct.pack(">I", 3) + bytes([4, 0, 9]),
    "test-images.gz": b"\0\0\x08\x03" + struct.pack(">3I", 1, 2, 3) + GREY[3],
    "test-labels.gz": b"\0\0\x08\x01" + struct.pack(">I", 1) + bytes([7]),
}
GZIPPED = {name: gzip.compress(content) for name, content in CONTENTS.items()}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def mirror(tmp_path):
    """A folder that a server on this machine shows to the world, and its address."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def places(tmp_path, monkeypatch, mirror):
    """A tiny MNIST in the table of sources; where it may lie: the user's folder, the cache, the mirror."""
    root, cached = tmp_path / "root", tmp_path / "cache"
    (root / "mnist").mkdir(parents=True)
    monkeypatch.setenv("PROBGEN_DATA", str(root))
    monkeypatch.setattr(pooch, "os_cache", lambda project: cached)
    urls = ("http://127.0.0.1:9/", mirror[1])  # nothing listens at the first
    files = tuple(
        File(name, hashlib.sha256(content).hexdigest(), tuple(url + name for url in urls))
        for name, content in CONTENTS.items()
    )
    monkeypatch.setitem(SOURCES, "mnist", Source("tiny digits", "1", "none", files))
    return root / "mnist", cached / "mnist", mirror[0]


def put(folder, contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def check(images):
    assert (images.image_shape, images.levels, images.name) == ((28, 28), 256, "mnist")
    assert torch.equal(images.train, torch.tensor([list(grey) for grey in GREY[:3]]).float() / 255)
    assert torch.equal(images.test, torch.tensor([list(GREY[3])]).float() / 255)
    assert images.train_labels.tolist() == [4, 0, 9]
    assert images.test_labels.tolist() == [7]
    assert images.train.dtype == torch.float32
    assert images.train_labels.dtype == torch.int64


def test_gzipped_under_the_users_folder(places):
    put(places[0], GZIPPED)
    put(places[1], dict.fromkeys(GZIPPED, b"not to be read"))
    check(mnist())
    assert where("mnist") == fetch("mnist") == str(places[0])


def test_plain_under_the_users_folder(places):
    put(places[0], {name.removesuffix(".gz"): content for name, content in CONTENTS.items()})
    check(mnist())


def test_recompressed_is_as_good(places):
    put(places[0], {name: gzip.compress(content, 1, mtime=5) for name, content in CONTENTS.items()})
    check(mnist())


def test_in_the_cache(places, monkeypatch):
    monkeypatch.delenv("PROBGEN_DATA")
    put(places[1], GZIPPED)
    check(mnist())
    assert where("mnist") == str(places[1])


def test_downloaded_from_the_second_mirror(places, capfd):
    put(places[2], GZIPPED)
    assert where("mnist").startswith("not here yet")
    check(mnist())
    assert "100%" in capfd.readouterr().err  # the progress bar
    assert sorted(path.name for path in places[1].iterdir()) == sorted(GZIPPED)
    assert where("mnist") == str(places[1])


@pytest.mark.parametrize("damage", [lambda c: c[:-9], lambda c: b"<html>no such file</html>", lambda c: b""])
def test_a_bad_download_is_refused_and_leaves_nothing(places, damage):
    put(places[2], GZIPPED | {"train-images.gz": damage(GZIPPED["train-images.gz"])})
    with pytest.raises(ConnectionError, match=r"train-images.gz could not be downloaded \(.*; .*damaged"):
        mnist()
    assert list(places[1].iterdir()) == []


def test_no_mirror_answers(places):
    with pytest.raises(ConnectionError, match=r"train-images.gz could not be downloaded"):
        fetch("mnist")
    assert list(places[1].iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c[: len(c) // 2],
        lambda c: c[:20] + b"\xff" + c[21:],
        lambda c: b"",
        lambda c: GZIPPED["test-images.gz"],
        lambda c: gzip.decompress(c)[:-1],
    ],
    ids=["truncated", "damaged", "empty", "another file", "truncated content"],
)
def test_a_damaged_file_is_named_and_left_alone(places, damage):
    bad = damage(GZIPPED["train-images.gz"])
    put(places[0], GZIPPED | {"train-images.gz": bad})
    put(places[2], GZIPPED)  # a mirror that could serve it
    for load in (mnist, lambda: fetch("mnist")):
        with pytest.raises(
            ValueError, match=r"root/mnist/train-images.gz is damaged.*: delete or replace it"
        ):
            load()
    assert (places[0] / "train-images.gz").read_bytes() == bad
    assert not places[1].exists()


def test_a_folder_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PROBGEN_DATA", str(tmp_path / "no"))
    with pytest.raises(ValueError, match=r"PROBGEN_DATA should name a folder but '.*no' is none"):
        mnist()


def test_listing_names_everything_once(places):
    entries = {entry.name: entry for entry in listing()}
    planes = ["banana", "funnel", "ring", "grid", "checkerboard", "two-moons", "swiss-roll"]
    kidiq = "posteriordb/kidiq-kidscore_interaction"
    files = ["mnist", "chorales", "shakespeare", "fsdd", "zinc", "movielens", "vix", "exchange-rates", kidiq]
    names = ["digits", *files, "diabetes", "sprites", "les-miserables", "sp500", "air-routes", *planes]
    assert list(entries) == names == [entry.name for entry in listing()]
    assert entries["mnist"].where == f"not here yet (would be downloaded to {places[1]})"
    assert all(all(entry) for entry in entries.values())
    assert fetch("digits") == "inside scikit-learn"
    assert fetch("ring") == "computed, no file"


@pytest.mark.parametrize("ask", [where, fetch])
def test_an_unknown_name(ask):
    with pytest.raises(ValueError, match="there is no data set 'minst': did you mean 'mnist'"):
        ask("minst")


def test_suggest_names_all_when_none_is_near():
    assert suggest("zzz", {"a": 1, "b": 2}) == "choose from 'a', 'b'"


@pytest.mark.skipif(
    any(find("mnist", file) is None for file in SOURCES["mnist"].files), reason="MNIST is not on this machine"
)
def test_the_real_mnist():
    images = mnist()
    assert (images.train.shape, images.test.shape) == ((60000, 784), (10000, 784))
    assert images.train_labels.bincount().tolist()[:3] == [5923, 6742, 5958]
    assert images.train.mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert images.train.std().item() == pytest.approx(0.3081, abs=1e-4)
    assert images.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
