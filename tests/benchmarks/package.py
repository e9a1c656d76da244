"""The package as a user gets it: built, looked into, installed in fresh environments, and used there.

``python -m tests.benchmarks.package --pythons PYTHON3.11 PYTHON3.12 PYTHON3.13`` builds the wheel, which
takes ``pip install build twine``, and makes an environment for each interpreter. Those in ``--envs``
that stand are taken as they are, but for probgen itself.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.benchmarks.results import cpu_seconds, record

HERE = Path(__file__).resolve().parents[2]

USE = {
    "--help": "--help",
    "compare": "compare banana --methods inverse,vae --steps 30 --n 200 --repeats 2 --jobs 1 --out compared",
    "train": "train vae --data digits --steps 30 --out run",
    "sample": "sample run -n 10",
}
"""Commands that each environment is tried with, by their columns."""

PROTOCOL = (
    "`python -m tests.benchmarks.package --pythons ...`: the wheel by `python -m build`, checked by `twine "
    "check --strict`, its files held against those of the checkout; then `pip install` of it, with all that "
    "it needs, in a fresh environment of each Python, and used outside of the checkout. Imports: medians of "
    "{repeats} processes each, in turn, after one that does not count; the ratio should be at most 2. "
    "Commands, the import included: {commands}. All in processor seconds, on cores that others used too."
)


def build(folder: Path) -> Path:
    """Build wheel and source, check both, and return the wheel."""
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, HERE], check=True, capture_output=True)
    made = sorted(folder.glob("probgen-*"))
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *made], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def contents(wheel: Path) -> str:
    """Say what the wheel has; raise ValueError where that is not the files of the package."""
    listed = subprocess.run(
        ["git", "ls-files", "probgen"], cwd=HERE, capture_output=True, text=True, check=True
    )
    of_checkout = set(listed.stdout.split())
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        size = sum(each.file_size for each in archive.infolist())
    if set(names) != of_checkout:
        raise ValueError(
            f"the wheel differs from the checkout in {sorted(of_checkout.symmetric_difference(names))}"
        )
    kinds = [Path(name).suffix or Path(name).name for name in names]
    counted = ", ".join(
        f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds), key=kinds.count, reverse=True)
    )
    return (
        f"The wheel: {wheel.stat().st_size / 1e6:.1f} MB, {size / 1e6:.1f} unpacked; {counted}; nothing else."
    )


def clean() -> dict[str, str]:
    """Return the environment of a user: no path to the checkout, compiled files kept."""
    dropped = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PROBGEN_DATA")
    return {name: value for name, value in os.environ.items() if name not in dropped} | {
        "OMP_NUM_THREADS": "1"
    }


def run(command: list[str | Path], folder: Path) -> str:
    """Run a command as a user would, and return what it prints."""
    done = subprocess.run(command, cwd=folder, env=clean(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def installed(python: str, wheel: Path, envs: Path) -> Path:
    """Return the folder of programs of an environment that has the wheel, a fresh one where there is none."""
    version = run([python, "-c", "import platform; print(platform.python_version())"], envs).strip()
    folder = envs / version
    if folder.exists():
        run([folder / "bin" / "pip", "install", "-q", "--no-deps", "--force-reinstall", wheel], envs)
    else:
        run([python, "-m", "venv", folder], envs)
        run([folder / "bin" / "pip", "install", "-q", wheel], envs)
    return folder / "bin"


def seconds(command: list[str | Path], folder: Path) -> float:
    """Return the processor seconds of a command and of all that it starts."""
    start = cpu_seconds()
    run(command, folder)
    return cpu_seconds() - start


def imports(programs: Path, folder: Path, repeats: int) -> tuple[float, float]:
    """Return the median seconds to import pyro and probgen, in turn."""
    found: dict[str, list[float]] = {"pyro": [], "probgen": []}
    for repeat in range(repeats + 1):
        for name, times in found.items():
            taken = seconds([programs / "python", "-c", f"import {name}"], folder)
            if repeat:  # the first one reads from the disk
                times.append(taken)
    return statistics.median(found["pyro"]), statistics.median(found["probgen"])


def row_of(python: str, wheel: Path, envs: Path, repeats: int) -> str:
    """Install, import and use the package under one interpreter; return a row of the table."""
    programs = installed(python, wheel, envs)
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        run([programs / "pip", "check"], folder)
        versions = "platform.python_version(), torch.__version__, arviz.__version__"
        asked = f"import platform, torch, arviz; print({versions})"
        cells = run([programs / "python", "-W", "ignore", "-c", asked], folder).split()
        pyro, ours = imports(programs, folder, repeats)
        used = [seconds([programs / "probgen", *words.split()], folder) for words in USE.values()]
        for made in ("compared/report.html", "run/samples.npy"):
            if not (folder / made).exists():
                raise FileNotFoundError(f"{made} should have been written under Python {cells[0]}")
    cells += [f"{pyro:.2f}", f"{ours:.2f}", f"{ours / pyro:.2f}", *(f"{each:.1f}" for each in used)]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pythons", nargs="+", default=[sys.executable], help="interpreters, 3.11 and later")
    parser.add_argument(
        "--envs", type=Path, help="folder of the environments, kept; a new one, deleted, if not given"
    )
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    envs = arguments.envs or Path(tempfile.mkdtemp())
    envs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        about = contents(wheel)
        print(about, flush=True)
        rows = []
        for python in arguments.pythons:
            rows.append(row_of(python, wheel, envs, arguments.repeats))
            print(rows[-1], flush=True)
    if arguments.envs is None:
        shutil.rmtree(envs)
    columns = ["Python", "torch", "ArviZ", "`import pyro`", "`import probgen`", "ratio"]
    columns += [f"`probgen {name}`" for name in USE]
    table = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n" + "\n".join(rows)
    commands = "; ".join(f"`{words}`" for words in USE.values())
    protocol = PROTOCOL.format(repeats=arguments.repeats, commands=commands)
    record("Package", protocol, f"{table}\n\n{about} On {platform.system()}.")


if __name__ == "__main__":
    main()
