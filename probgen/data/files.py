"""Files of real data: where they lie, how they come here, and the proof that they are whole."""

from __future__ import annotations

import difflib
import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class File(NamedTuple):
    """One file of a data set, plain or gzipped; the hash is that of the decompressed content."""

    name: str
    sha256: str
    urls: tuple[str, ...]


class Source(NamedTuple):
    """A data set made of files, which lie in a folder of its name or, where one is named, in ``folder``."""

    what: str
    version: str
    licence: str
    files: tuple[File, ...]
    folder: str = ""


def _mnist(name: str, sha256: str) -> File:
    mirrors = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    return File(name, sha256, tuple(mirror + name for mirror in mirrors))


SOURCES = {
    "mnist": Source(
        what="60,000 + 10,000 handwritten digits, 28x28, grey levels 0..255",
        version="1998",
        licence="CC BY-SA 3.0",
        files=(
            _mnist(
                "train-images-idx3-ubyte.gz",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            _mnist(
                "train-labels-idx1-ubyte.gz",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            _mnist(
                "t10k-images-idx3-ubyte.gz",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            _mnist(
                "t10k-labels-idx1-ubyte.gz",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    ),
    "chorales": Source(
        what="382 chorales by Bach in quarter notes: 229 train, 76 validation, 77 test",
        version="2012",
        licence="public domain, as transcribed by others",
        files=(
            File(
                "jsb-chorales-quarter.json",
                "2db9329f1881a1d3f49703ec556bf1d6f84b4f6c1d702c156536e93cf31e1c91",
                (
                    "https://raw.githubusercontent.com/czhuang/JSB-Chorales-dataset/master/"
                    "jsb-chorales-quarter.json",
                ),
            ),
        ),
        folder="jsb",
    ),
    "shakespeare": Source(
        what="1,115,394 characters of nine plays by Shakespeare, with who speaks",
        version="2015",
        licence="public domain",
        files=(
            File(
                "input.txt",
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                (
                    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
                    "input.txt",
                ),
            ),
        ),
    ),
    "fsdd": Source(
        what="3,000 spoken digits at 8 kHz, by 6 speakers, with who speaks",
        version="1.0.10",
        licence="CC BY-SA 4.0",
        files=(
            File(
                "free-spoken-digit-dataset.tar.gz",
                "f92e4a464f31824344212b1c85fad8dcdf6458a5d96e7cfb3c50e67ccf571e6c",
                (),
            ),
        ),
    ),
    "zinc": Source(
        what="20,000 drug-like molecules as SMILES, with logP, qed and SAS",
        version="2018",
        licence="free to use, as ZINC is",
        files=(
            File(
                "20k_rndm_zinc_drugs_clean_3.csv",
                "c57b87b2d1524f71e9e4fa577a3361612848af2f30d0e993f62436097ac56904",
                (),
            ),
        ),
    ),
    "movielens": Source(
        what="100,836 ratings of 9,724 films by 610 users, with titles",
        version="2018",
        licence="free for research, as README.txt beside it says",
        files=(
            File("ratings.csv", "aa289ca83157595d0df6aea1be6a4ded676ddc4385472e8313a8ed9805352646", ()),
            File("movies.csv", "cddfafac1788a3ac13ce32f6e4ca53b8fa1444a2ad9ae2fd8a7cce8625253679", ()),
        ),
    ),
    "vix": Source(
        what="the volatility index VIX, open, high, low and close of 9,235 days since 1990",
        version="2026-07-23",
        licence="PDDL",
        files=(
            File("vix-daily.csv", "fa8f8119bb2fa785bb408bcae541a1e630fef97f3acb160b94ed3115c1318db5", ()),
        ),
        folder="finance",
    ),
    "exchange-rates": Source(
        what="34 currencies per US dollar, means of 666 months since 1971",
        version="2026-06",
        licence="PDDL",
        files=(
            File(
                "exchange-rates-monthly.csv",
                "c2b361928844addcbfe07d2cdd99bc0168062e33f40abebcf80a91d12c258c70",
                (),
            ),
        ),
        folder="finance",
    ),
    "posteriordb/kidiq-kidscore_interaction": Source(
        what="test scores of 434 children, their mothers' IQ and schooling",
        version="1",
        licence="BSD-3-Clause",
        files=(
            File(
                "data.json.zip",
                "16d341a99ec8178231eab660d8fda084a44145f6a241daf35276d0192d13b92d",
                (
                    "https://github.com/stan-dev/posteriordb/raw/master/posterior_database/data/data/"
                    "kidiq.json.zip",
                ),
            ),
        ),
    ),
}
"""The data sets made of files: to add one, add a row here and its loader."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown name: the near names, or all of them.

    >>> suggest("bananna", ["banana", "ring"])
    "did you mean 'banana'?"
    >>> suggest("x", ["banana", "ring"])
    "choose from 'banana', 'ring'"
    """
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"choose from {', '.join(map(repr, names))}"


def cache(name: str) -> Path:
    """Return the folder of the user's cache into which the files of ``name`` are downloaded."""
    import pooch

    return Path(pooch.os_cache("probgen")) / name


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files in a folder with their names."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    lines = (
        f"{part.relative_to(path)} {digest_of(part)}\n" for part in sorted(path.rglob("*")) if part.is_file()
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def find(name: str, file: File) -> Path | None:
    """Return where ``file`` of data set ``name`` lies, plain or gzipped, or None where it is not here.

    The folder that the environment variable PROBGEN_DATA names comes before the user's cache.
    """
    source = SOURCES.get(name)
    folder = name if source is None else source.folder or name
    folders = [cache(name)]
    root = os.environ.get("PROBGEN_DATA")
    if root:
        if not Path(root).is_dir():
            raise ValueError(f"PROBGEN_DATA should name a folder but {root!r} is none")
        folders.insert(0, Path(root) / folder)
    for place in folders:
        for candidate in (place / file.name, place / file.name.removesuffix(".gz")):
            if candidate.exists():
                return candidate
    return None


def read(name: str, file: File) -> bytes:
    """Return the decompressed content of a file, downloaded if it is not here, its SHA-256 checked.

    Raises ValueError where the file that is here is damaged, truncated or another one (it stays as it is),
    and ConnectionError where no mirror delivers it.
    """
    path = find(name, file)
    if path is None:
        return _download(file, cache(name))
    try:
        return _content(path, file)
    except ValueError as error:
        raise ValueError(f"{path} {error}: delete or replace it, then fetch {name!r} again") from None


def _content(path: Path, file: File) -> bytes:
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            raise ValueError("is damaged or truncated and cannot be decompressed") from None
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise ValueError(
            f"is damaged, truncated or another file, its content having SHA-256 {found[:12]}... "
            f"instead of {file.sha256[:12]}..."
        )
    return content


def _download(file: File, folder: Path) -> bytes:
    import pooch

    if not file.urls:
        raise ConnectionError(
            f"{file.name} has no address here from which it could be downloaded: put it into {folder}, or "
            "under PROBGEN_DATA"
        )
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in file.urls:
        handle, name = tempfile.mkstemp(prefix=".download-", dir=folder)
        os.close(handle)
        partial = Path(name)
        try:
            pooch.HTTPDownloader(progressbar=True)(url, name, None)
            content = _content(partial, file)
            partial.replace(folder / file.name)
            return content
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {error}")
        finally:
            partial.unlink(missing_ok=True)
    raise ConnectionError(f"{file.name} could not be downloaded ({'; '.join(failures)})")
