"""The command line: ``probgen compare``, ``train``, ``sample``, ``apply``, ``recipes`` and ``data``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

    from probgen.compare import Comparison
    from probgen.compare.questions import Question

app = typer.Typer(
    name="probgen",
    help="Learn and sample a law in several ways, and be told which of them to believe.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="What data there are, where they lie, and how to get them.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Device = Annotated[str, typer.Option(help="torch device, such as cpu, cuda or cuda:1.")]
Kinds = Annotated[
    str | None,
    typer.Option(
        help="Kinds of a table's columns where found wrong, as in town=categorical,id=none; where its rows "
        "are the links of a graph, from=node,to=node."
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
_traceback = False


@app.callback()
def _main(
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error came from.")] = False,
) -> None:
    global _traceback
    _traceback = traceback


@app.command()
def compare(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A data set (`probgen data list`), your own .csv, .npy or folder of pictures, or a "
            "log-density in a Python file of yours, FILE.py:NAME; that file is run. digits if not given, or "
            "the table's own."
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Comma-separated names of methods; classical ones and main recipes if not given."),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Comma-separated names of metrics or columns; all if not given.")
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(help="A table of questions, its methods and metrics: ae-vae, gan-vae-gmmn, samplers."),
    ] = None,
    n: Annotated[int | None, typer.Option(help="Points drawn from each method.", min=8)] = None,
    repeats: Annotated[
        int | None, typer.Option(help="Fits and draws of each method, each under its own seed.", min=1)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimizer steps of each training, in place of a recipe's own.", min=1)
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="Methods at work at once, -1 for all cores, as if not given on a CPU."),
    ] = None,
    kinds: Kinds = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dim: Annotated[
        int | None, typer.Option(help="Of FILE.py:NAME, the numbers of one value; `dim` of the file.", min=1)
    ] = None,
    support: Annotated[
        str | None,
        typer.Option(help="Of FILE.py:NAME: real, positive, unit_interval, simplex; `support` of the file."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New folder for the report; results/NAME, numbered, if not given.")
    ] = None,
) -> None:
    """Draw from the law of data, or from a density, by every method, and judge the draws side by side.

    Writes metrics.csv, protocol.json, report.html and the figures as PNG.
    """
    import torch

    from probgen import recipes
    from probgen.cli import comparing, own_density, tables

    asked = None if table is None else tables.called(table, metrics)
    name = name or ("digits" if asked is None else asked.data)
    is_density = own_density.is_density(name)
    if not is_density and (dim, support) != (None, None):
        raise ValueError(
            f"--dim and --support belong to a log-density, FILE.py:NAME, but the name is {name!r}"
        )
    where = device_of(device)
    torch.set_num_threads(1)  # so that the numbers do not depend on how many methods are at work at once
    jobs = (-1 if where.type == "cpu" else 1) if jobs is None else jobs
    folder = comparing.new_folder(name.rpartition(":")[0] or name if is_density else name, out)
    if is_density:
        if table is not None or steps is not None:
            raise ValueError(
                f"--table and --steps belong to data sets but {name!r} is a log-density: leave them out"
            )
        target = own_density.load(name, dim=dim, support=support, device=where)
        chosen = own_density.choose(target, _split(methods))
        result, draws = own_density.run(
            name, target, chosen, _split(metrics), n=n, repeats=repeats, seed=seed, jobs=jobs
        )
        figures, captions = own_density.pictures(target, draws, result)
        _show(result)
        pages = own_density.pages(target, draws)
        result.save(folder, figures=figures, captions=captions, pages=pages)
        print(f"\nThe report is {folder / 'report.html'}")
        return
    task = recipes.load(name, device=where, seed=seed, kinds=kinds)
    if asked is None:
        chosen = comparing.choose(task, _split(methods), steps=steps)
        result = comparing.run(task, chosen, _split(metrics), n=n, repeats=repeats, seed=seed, jobs=jobs)
        _show(result)
        comparing.save(task, result, folder)
    else:
        result = tables.run(
            asked, task, _split(methods), n=n, repeats=repeats, seed=seed, jobs=jobs, steps=steps
        )
        _show(result, asked.questions)
        comparing.save(task, result, folder, asked.questions)
    print(f"\nThe report is {folder / 'report.html'}")


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe; `probgen recipes` lists them.")],
    data: Annotated[
        str | None,
        typer.Option(help="A data set or your own file; digits if not given, or the resumed run's."),
    ] = None,
    kinds: Kinds = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps, of each stage.", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Data per step.", min=1)] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of everything random; 0 if not given, or the resumed run's.", min=0),
    ] = None,
    device: Device = "cpu",
    devices: Annotated[int, typer.Option(help="Processes on this machine, a device each.", min=1)] = 1,
    nodes: Annotated[int, typer.Option(help="Machines that take part.", min=1)] = 1,
    strategy: Annotated[str, typer.Option(help="How they train together: auto or ddp.")] = "auto",
    precision: Annotated[str, typer.Option(help="32-true or bf16-mixed.")] = "32-true",
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/RECIPE-DATA if not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
) -> None:
    """Train a recipe on a data set, with checkpoints; Ctrl-C stops it, --resume goes on."""
    from probgen.cli import runs
    from probgen.recipes import short_name

    folder = out or Path("runs") / f"{recipe}-{short_name(data or runs.DEFAULTS['data'])}"
    options = {"steps": steps, "batch_size": batch_size}
    given = {key: value for key, value in options.items() if value is not None}
    where = device_of(device)
    fabric = runs.fabric(where, devices=devices, nodes=nodes, strategy=strategy, precision=precision)
    runs.train(
        recipe, data, folder, device=where, seed=seed, resume=resume, kinds=kinds, fabric=fabric, **given
    )


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="Folder of a run that `probgen train` made.")],
    n: Annotated[int, typer.Option("-n", help="Points to draw.", min=1)] = 100,
    seed: Seed = 0,
    device: Device = "cpu",
    out: Annotated[
        Path | None, typer.Option(help="File for the draws; RUN/samples.npy, .csv of a table, if not given.")
    ] = None,
    label: Annotated[
        int | None, typer.Option(help="Draw this class alone, of a recipe that is told the class.")
    ] = None,
) -> None:
    """Draw from a trained model: a NumPy file, or a CSV of a table, and a picture beside it."""
    from probgen.cli import runs

    runs.sample(run, n, device=device_of(device), seed=seed, out=out, label=label)


@app.command()
def apply(
    name: Annotated[str, typer.Argument(help="An application; `probgen applications` lists them.")],
    data: Annotated[
        str | None,
        typer.Option(help="A file or folder of your own, or a data set; `probgen applications` says which."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder; results/NAME if not given. A study there goes on.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="At most a minute of one core, to look.")] = False,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Run an application on real data, beside the baselines of its field; run again, it goes on.

    Writes report.html, metrics.csv, protocol.json and the figures as PNG.
    """
    import torch

    from probgen import applications

    torch.set_num_threads(1)  # so that the numbers do not depend on the machine's cores
    where = device_of(device)
    try:
        folder = applications.apply(
            name, data=data, out=out, size="quick" if quick else "full", seed=seed, device=where
        )
    except KeyboardInterrupt:
        raise RuntimeError("interrupted: what was measured is kept, and the same command goes on") from None
    print(f"\nThe report is {folder / 'report.html'}")


@app.command("applications")
def list_applications() -> None:
    """List the applications: what each does, and the data that it takes."""
    from probgen.applications import applications

    for entry in applications().values():
        print(f"{entry.name:13} {entry.title}\n{'':13} {entry.data}; shipped: {', '.join(entry.shipped)}")


@app.command("recipes")
def list_recipes() -> None:
    """List the recipes: what each is, its source, the kinds of data that it suits."""
    from probgen.recipes import entries

    for entry in entries().values():
        print(f"{entry.name:18} {entry.what}\n{'':18} {entry.source}; for {', '.join(entry.tasks)}")


@data_app.command("list")
def list_data() -> None:
    """List the data sets, with where each lies."""
    from probgen.data import listing

    for entry in listing():
        print(f"{entry.name:13} {entry.what}\n{'':13} {entry.where}; licence: {entry.licence}")


@data_app.command()
def where(name: Annotated[str, typer.Argument(help="Name of a data set.")]) -> None:
    """Say where a data set would be read from."""
    from probgen.data import where

    print(where(name))


@data_app.command()
def fetch(name: Annotated[str, typer.Argument(help="Name of a data set.")]) -> None:
    """Download a data set if it is not here, and check that it is whole."""
    from probgen.data import fetch

    print(fetch(name))


def device_of(name: str) -> torch.device:
    """Return the device called ``name``, or say in one sentence that it is not there."""
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ValueError(f"device should be one that this machine has but got {name!r}") from None
    return device


def main() -> None:
    """Run the command line; an error ends it with one sentence on stderr and exit status 1."""
    try:
        app()
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        if _traceback:
            raise
        print(f"probgen: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:  # what typer makes of Ctrl-C
            print("probgen: interrupted, nothing more was written", file=sys.stderr)
        raise


def _show(result: Comparison, questions: Sequence[Question] = ()) -> None:
    """Print the table, or the answers to questions, marked lines in red."""
    from probgen.compare.table import MARK

    for line in (result.answers(questions) if questions else result.table()).splitlines():
        typer.secho(line, fg="red" if MARK in line else None)


def _split(names: str | None) -> list[str] | None:
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]


if __name__ == "__main__":
    main()
