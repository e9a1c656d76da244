"""Tables of questions and answers, each in a file of its own: ``probgen compare --table NAME``."""

from __future__ import annotations

from collections.abc import Sequence

from probgen import recipes
from probgen.cli import comparing
from probgen.cli.tables.ae_vae import AE_VAE
from probgen.cli.tables.gan_vae_gmmn import GAN_VAE_GMMN
from probgen.cli.tables.samplers import SAMPLERS
from probgen.cli.tables.table import Table
from probgen.compare import Comparison
from probgen.data import suggest

TABLES = {table.name: table for table in (AE_VAE, GAN_VAE_GMMN, SAMPLERS)}

REPEATS = 5
"""Runs of each method from different seeds."""


def called(name: str, metrics: str | None) -> Table:
    """Return the table called ``name``, which has metrics of its own.

    Raises ValueError for a name that is not known, and for metrics beside it.
    """
    if name not in TABLES:
        raise ValueError(f"there is no table {name!r}: {suggest(name, TABLES)}")
    if metrics is not None:
        raise ValueError(f"--metrics should be left out beside --table {name}, which has metrics of its own")
    return TABLES[name]


def run(
    table: Table,
    task: recipes.Task,
    methods: Sequence[str] | None,
    *,
    n: int | None,
    repeats: int | None,
    seed: int,
    jobs: int | None = None,
    steps: int | None = None,
) -> Comparison:
    """Compare the methods of a table, or some, on a task.

    Raises ValueError where the table is made on another kind of data.
    """
    if task.kind != table.kind:
        raise ValueError(
            f"the table {table.name!r} is made on {table.kind}, such as {table.data}, but {task.name!r} is "
            f"{task.kind!r}"
        )
    chosen = comparing.choose(task, methods or table.methods, steps=steps)
    return comparing.run(
        task,
        chosen,
        table.metrics,
        n=n,
        repeats=repeats or REPEATS,
        seed=seed,
        jobs=jobs,
        title=f"{table.title}: {task.name}",
        facts={"steps of each training": f"{steps:,}, fewer or more than a recipe's own"} if steps else None,
    )
