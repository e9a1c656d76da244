"""Rows of arrays that stay in their files."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from probgen.data import MemoryMapped, batches


@pytest.fixture
def array():
    return np.random.default_rng(1).normal(size=(9, 2, 3))


def test_rows_of_a_file(array, tmp_path, dtype):
    path = tmp_path / "x.npy"
    np.save(path, array)
    index = torch.tensor([5, 0, 5, 8, 3])
    for given in (path, str(path), np.load(path, mmap_mode="r"), np.asfortranarray(array)):
        data = MemoryMapped(given, dtype=dtype)
        assert len(data) == 9
        assert torch.equal(data[index], torch.from_numpy(array[index]).to(dtype))
    assert MemoryMapped(path)[index].dtype == torch.get_default_dtype()


def test_a_raw_file(array, tmp_path):
    raw = np.memmap(tmp_path / "x.raw", ">f4", "w+", shape=array.shape)
    raw[:] = array
    data = MemoryMapped(raw[1:])
    (whole,) = next(batches(data, 8, shuffle=False))
    assert torch.equal(whole, torch.from_numpy(array[1:]).float())


@pytest.mark.parametrize("kind", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "i8", "f2", "f4", "f8"])
def test_types_of_numbers(kind):
    array = np.array([[0, 1], [1, 0]], kind)
    rows = MemoryMapped(array)[torch.tensor([1, 0])]
    assert torch.equal(rows, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    if array.dtype.kind in "biu":
        whole = MemoryMapped(array, dtype=torch.int64)[torch.tensor([1])]
        assert whole.dtype == torch.int64
        assert whole.tolist() == [[1, 0]]


def test_grey_levels_are_divided_as_torch_divides():
    levels = np.arange(256, dtype=np.uint8)
    data = MemoryMapped(levels, scale=255)
    assert torch.equal(data[torch.arange(256)], torch.arange(256).float() / 255)


def test_the_file_is_read_in_its_own_order(array):
    read = []

    class Recorded(np.ndarray):
        def __getitem__(self, index):
            read.append(np.asarray(index).tolist())
            return np.asarray(self)[index]

    index = torch.tensor([7, 2, 4])
    rows = MemoryMapped(array.view(Recorded))[index]
    assert read == [[2, 4, 7]]
    assert torch.equal(rows, torch.from_numpy(array[index]).float())


BOUNDED = """
import resource, sys
import numpy as np, torch
from probgen.data import MemoryMapped, source
torch.set_num_threads(1)
path = sys.argv[1]
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 100 * 2**20,) * 2)
rows, marked = 0, []
for (x,) in source(MemoryMapped(path)).batches(1000, generator=torch.Generator().manual_seed(1)):
    rows += len(x)
    marked += x[:, 0][x[:, 0] > 0].int().tolist()
try:
    np.load(path)
    print("the limit does not hold")
except MemoryError:
    print(rows, sorted(marked))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux only")
def test_an_epoch_takes_much_less_memory_than_the_file(tmp_path):
    path, marks = tmp_path / "x.npy", [1, 40_000, 74_999]
    array = np.lib.format.open_memmap(path, "w+", np.float32, (75_000, 1000))  # 300 MB, sparse
    array[marks, 0] = marks
    array.flush()
    done = subprocess.run([sys.executable, "-c", BOUNDED, path], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (f"75000 {marks}\n", 0), done.stderr


def objects(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([None]), allow_pickle=True)
    return tmp_path / "objects.npy"


def text(tmp_path):
    (tmp_path / "x.txt").write_text("1 2 3")
    return tmp_path / "x.txt"


def archive(tmp_path):
    np.savez(tmp_path / "x.npz", x=ZEROS)
    return tmp_path / "x.npz"


def nothing(tmp_path):
    (tmp_path / "empty.npy").touch()
    return tmp_path / "empty.npy"


ZEROS = np.zeros((2, 2))


@pytest.mark.parametrize(
    ("array", "options", "error", "message"),
    [
        (
            np.array([None]),
            {},
            ValueError,
            "array should hold real numbers of up to 64 bits but holds object",
        ),
        (ZEROS.astype(complex), {}, ValueError, "real numbers of up to 64 bits but holds complex128"),
        (np.array(["a"]), {}, ValueError, "real numbers of up to 64 bits but holds <U1"),
        (np.zeros((0, 2)), {}, ValueError, r"array should have at least one row but has shape \(0, 2\)"),
        (np.zeros(()), {}, ValueError, r"array should have at least one row but has shape \(\)"),
        (ZEROS, {"scale": 0}, ValueError, "scale should be positive and finite but got 0"),
        (ZEROS, {"scale": float("nan")}, ValueError, "scale should be positive and finite but got nan"),
        (
            ZEROS,
            {"dtype": torch.int64},
            ValueError,
            "dtype should be floating point, or int64 for integers th",
        ),
        (ZEROS.astype(int), {"dtype": torch.uint8}, ValueError, "not scaled, but is torch.uint8"),
        (ZEROS.astype(int), {"dtype": torch.int64, "scale": 2}, ValueError, "not scaled, but is torch.int64"),
        (objects, {}, ValueError, "array should be a .npy file of numbers but .*objects.npy is none"),
        (archive, {}, ValueError, r"x.npz is an archive of x: give np.load\(path\)\['x'\]"),
        (nothing, {}, ValueError, "array should be a .npy file of numbers but .*empty.npy is none"),
        ([[1.0]], {}, TypeError, "array should be a NumPy array, or the path of a .npy file, but is a list"),
        (lambda folder: folder, {}, ValueError, "array should be a .npy file of numbers but .* is none"),
        (text, {}, ValueError, "array should be a .npy file of numbers but .*x.txt is none"),
        (lambda folder: folder / "none.npy", {}, FileNotFoundError, "none.npy"),
    ],
)
def test_wrong_arrays(array, options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        MemoryMapped(array(tmp_path) if callable(array) else array, **options)


@pytest.mark.parametrize(
    "index", [3, -1, slice(1, 7, 2), [4, 0], torch.arange(11) % 3 == 1, np.array([2, 2]), torch.tensor(5)]
)
def test_rows_are_had_by_any_index_that_a_tensor_takes(index, array):
    x = torch.from_numpy(np.resize(array, (11, 3)).astype("f4"))
    expected = x[index]
    got = MemoryMapped(x.numpy())[index]
    assert torch.equal(got, expected)
