"""The record of a training: what was reported, when, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probgen.training.contest_findings import contest_findings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(repr=False)
class History:
    """What :func:`probgen.fit` reports.

    Attributes:
        rows: one mapping per report, split and term: ``step``, ``epoch``, ``split`` ("train" or
            "validation"), ``term`` ("loss" or a term of the objective) and ``value``. A training value is
            the mean per datum since the last report, over the steps that have the term; a ratio that of the
            two means.
        step: optimizer steps taken.
        ended: "finished", "stopped early" or "interrupted".
        seconds: wall time, the time before a resume included.
        folder: where the checkpoints are, if any.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    ended: str = "interrupted"
    seconds: float = 0.0
    folder: Path | None = None

    def __repr__(self) -> str:
        splits = ("train", "validation")
        latest = {split: self.values("loss", split)[-1:] for split in splits}
        losses = [f"{split} loss {values[0]:.4g}" for split, values in latest.items() if values]
        return f"History({', '.join([f'{self.ended} at step {self.step}', *losses])})"

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a tidy table."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=["step", "epoch", "split", "term", "value"])

    def values(self, term: str = "loss", split: str = "train") -> list[float]:
        """Return the reported values of a term, oldest first."""
        return [row["value"] for row in self.rows if row["term"] == term and row["split"] == split]

    def diagnose(self) -> list[str]:
        """Say in plain words what the last report shows to be wrong, and what usually cures it.

        A latent coordinate is inactive where its KL is below 0.01 nats per datum: the guide then says the
        same of it for every x. Where all are, the posterior has collapsed onto the prior. Where the KL is
        known only as a whole, as with a learned prior, ``evaluation.active_units`` tells.

        A contest is unsound where its discriminator is right of nearly all held-out data and draws, where
        draws are less than half as far from each other as data, and where their distance from held-out data
        goes round, jumps, or stays what it was; without such data nothing tells how good its weights are. Nor
        is one sound with a code (``objectives.MutualInformation``) of which draws tell nothing.
        """
        names = {(row["split"], row["term"]) for row in self.rows}
        return [*contest_findings(names, self.values), *self._of_codes()]

    def collapsed(self, *, reports: int = 1) -> bool:
        """Say whether all latent coordinates were inactive in each of the last reports."""
        latest = self._units()[-reports:]
        return len(latest) == reports and all(active < 0.5 for active, _ in latest)

    def plot(self) -> Figure:
        """Draw every term over the steps, training beside validation."""
        from probgen import plots

        return plots.history(self.frame)

    def add(self, step: int, epoch: int, split: str, terms: dict[str, float]) -> None:
        """Append one report."""
        self.rows += [
            {"step": step, "epoch": epoch, "split": split, "term": term, "value": value}
            for term, value in terms.items()
        ]

    def _of_codes(self) -> list[str]:
        """Say which latent coordinates are inactive at the last report."""
        counts = self._units()
        sites = self._collapsed_sites()
        if not counts:
            return sites
        active, inactive = counts[-1]
        coordinates = round(active + inactive)
        if active < 0.5:
            return [
                f"Posterior collapse: all {coordinates} latent coordinates have a KL below 0.01 nats, so the "
                "model makes no use of them. What usually cures it: annealing the KL (BetaELBO with "
                "schedules={'elbo.beta': schedules.linear(0, 1, steps=...)}), FreeBits, an encoder with "
                "nets.BatchNormHead, a decoder that is less powerful, or a smaller learning rate. A learned "
                "prior does not wake a code that has collapsed: it learns its law."
            ]
        if sites:
            return sites
        if inactive >= 0.5:
            return [
                f"{round(inactive)} of {coordinates} latent coordinates are inactive (KL below 0.01 nats): "
                "the model makes no use of them. That does no harm where the code is larger than the data "
                "need; to use more of them, anneal the KL (BetaELBO), or take FreeBits."
            ]
        return []

    def _collapsed_sites(self) -> list[str]:
        """Say which sites of several have no active coordinate at the last report."""
        latest = {row["term"]: row["value"] for row in self.rows}
        return [
            f"Posterior collapse at site {name.split('active/')[-1]!r}: all its latent coordinates have a KL "
            "below 0.01 nats: the model makes no use of it. What usually cures it: annealing the KL of that "
            "site (BetaELBO with a weight by site), FreeBits(..., per='site'), or a smaller learning rate."
            for name, active in latest.items()
            if "active/" in name and active < 0.5
        ]

    def _units(self) -> list[tuple[float, float]]:
        """Return how many latent coordinates were active and inactive at each report, of a sum too."""
        name = next(
            (row["term"] for row in self.rows if row["term"].split("/")[-1] == "inactive"), "inactive"
        )
        return list(
            zip(self.values(f"{name.removesuffix('inactive')}active"), self.values(name), strict=True)
        )
