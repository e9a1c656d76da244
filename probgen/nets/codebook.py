"""A codebook: vectors are replaced by the nearest of K atoms, and gradients pass as if they were not."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize

from probgen.core import check_count
from probgen.core.randomness import seed_of

MOST_ROWS = 20_000
"""Vectors that k-means is run on, at most."""


class Codebook(nn.Module):
    r"""K atoms e_k of d numbers; a vector z becomes the nearest, e_c with c = argmin_k ‖z − e_k‖².

    A loss of e_c has no gradient with respect to z. Straight through, z is given that of e_c as it is; by the
    rotation trick e_c is taken for R z |e_c| / |z|, with the rotation R that turns z to e_c and the scale
    held fixed, so that the gradient keeps its angle to the vector.

    Atoms are moving averages of the vectors that fall on them in training, which move once a step
    (:meth:`after_step`, called by ``fit``), whatever the parts and processes of a batch. With n_k vectors of
    sum s_k on atom k in a step, N_k ← γ N_k + (1 − γ) n_k and e_k = m_k / N_k, where m_k is averaged as N_k
    is. Both start at 0, so that there is no weight on the start: the first step moves atoms to the means of
    the vectors on them, and all others to vectors of the batch. An atom on which nothing falls stays where it
    is, until N_k is below a share of the mean; then it is put in the place of a vector of the batch.

    Without a decay atoms are weights, learned by the codebook term of :class:`probgen.objectives.VQ`; they
    need a start, :meth:`fit`, or few of them are ever used.

    Args:
        size: K, at least 2.
        dim: d.
        decay: γ, in [0, 1); None for atoms that are weights.
        revive: an atom that is used less than this times the mean atom is put elsewhere; 0 for never.
        rotation: whether gradients pass by the rotation trick; else straight through.

    Raises:
        ValueError: for a codebook of one atom, and a decay or share outside of [0, 1).

    Source: van den Oord, Vinyals and Kavukcuoglu (2017), Neural discrete representation learning; Łańcucki
    and others (2020), Robust training of vector quantized bottleneck models, for the revival; Fifty and
    others (2025), Restructuring vector quantization with the rotation trick.

    >>> codebook = Codebook(512, 64)
    >>> codes, quantised = codebook(torch.randn(5, 7, 64))
    >>> codes.shape, quantised.shape
    (torch.Size([5, 7]), torch.Size([5, 7, 64]))
    """

    summed: tuple[str, ...] = ()
    atoms: Tensor
    use: Tensor
    fallen: Tensor
    sums: Tensor
    candidates: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        decay: float | None = 0.99,
        revive: float = 0.03,
        rotation: bool = False,
    ) -> None:
        super().__init__()
        self.size, self.dim = check_count("size", size, least=2), check_count("dim", dim)
        for name, value in (("decay", decay), ("revive", revive)):
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"{name} should be at least 0 and below 1 but is {value}")
        self.decay, self.revive, self.rotation = decay, revive, rotation
        atoms = torch.empty(size, dim).uniform_(-1 / size, 1 / size)
        if decay is None:
            self.atoms = nn.Parameter(atoms)
            return
        self.register_buffer("atoms", atoms)
        self.register_buffer("use", torch.zeros(size))  # N
        # Of the step at hand: n, s, and vectors of which those take the places that are not used.
        self.summed = ("fallen", "sums")
        self.register_buffer("fallen", torch.zeros(size), persistent=False)
        self.register_buffer("sums", torch.zeros(size, dim), persistent=False)
        self.register_buffer("candidates", torch.zeros(size, dim), persistent=False)

    def extra_repr(self) -> str:
        return f"{self.size} atoms of {self.dim} coordinates"

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return the codes of vectors (\*batch, d), and the atoms there with a gradient for z.

        Returns:
            codes (\*batch), int64, and atoms (\*batch, d): to the bit those of ``embed(codes)``.
        """
        codes = self.nearest(z)
        if self.training and self.decay is not None:
            self._count(z.detach().reshape(-1, self.dim).to(self.sums), codes.flatten())
        atoms = self.embed(codes).detach()
        passed = rotated(z, atoms) if self.rotation else z
        return codes, atoms + (passed - passed.detach())

    def nearest(self, z: Tensor) -> Tensor:
        r"""Return the index of the atom nearest to each vector, int64 (\*batch)."""
        if z.shape[-1:] != (self.dim,):
            raise ValueError(
                f"vectors should have {self.dim} numbers, as atoms have, but have shape {tuple(z.shape)}"
            )
        # ‖z − e‖² = ‖z‖² − 2 zᵀe + ‖e‖², with the atoms' mean for origin, so that little cancels.
        atoms = self.atoms.detach()
        centre = atoms.mean(0)
        atoms = atoms - centre
        with torch.autocast(z.device.type, enabled=False):
            products = (z.detach().to(atoms) - centre) @ atoms.T
        return (atoms.square().sum(1) / 2 - products).argmin(-1)

    def embed(self, codes: Tensor) -> Tensor:
        r"""Return the atoms of codes (\*batch), shape (\*batch, d)."""
        return embedding(codes, self.atoms)

    @torch.no_grad()
    def _count(self, z: Tensor, codes: Tensor) -> None:
        """Add up the vectors that fall on each atom, and draw some for atoms on which none does."""
        fallen = (codes[:, None] == torch.arange(self.size, device=z.device)).to(z)
        self.fallen.add_(fallen.sum(0))
        self.sums.add_(fallen.T @ z)
        self.candidates.copy_(z[torch.randint(len(z), (self.size,), device=z.device)])

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the atoms that are moving averages, if any vectors were quantised in training."""
        if self.decay is None:
            return
        any_fell = self.fallen.sum() > 0
        # N ← N + (1 − γ)(n − N), and e ← m / N, that is e + (1 − γ)(s − n e) / N.
        self.use.lerp_(self.fallen, any_fell.to(self.use) * (1 - self.decay))
        share = torch.where(self.fallen > 0, (1 - self.decay) / self.use, 0.0)
        self.atoms.add_(share[:, None] * (self.sums - self.fallen[:, None] * self.atoms))
        # What is hardly used goes elsewhere, and counts as used like the mean, to have time to be found.
        mean = self.use.mean()
        dead = any_fell & (self.use < self.revive * mean)
        self.atoms.copy_(torch.where(dead[:, None], self.candidates, self.atoms))
        self.use.copy_(torch.where(dead, mean, self.use))
        self.fallen.zero_()
        self.sums.zero_()

    @torch.no_grad()
    def fit(self, z: Tensor, *, seed: int | None = None, generator: torch.Generator | None = None) -> None:
        r"""Move the atoms to the centres that k-means finds for vectors (\*batch, d), in float64.

        Of more than 20,000 vectors so many are taken. The seed is 0 where none is given.

        Raises:
            ValueError: for vectors of another size, fewer different ones than atoms, NaN or infinity.
        """
        from sklearn.cluster import KMeans

        if z.shape[-1:] != (self.dim,) or not z.isfinite().all():
            raise ValueError(
                f"vectors should be finite, of {self.dim} numbers as atoms are, but have shape "
                f"{tuple(z.shape)}" + ("" if z.isfinite().all() else " and hold NaN or infinity")
            )
        seed = seed_of(seed, generator, default=0)
        rows = z.detach().cpu().double().reshape(-1, self.dim)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        rows = rows[order[:MOST_ROWS]]
        different = len(rows.unique(dim=0))
        if different < self.size:
            raise ValueError(
                f"k-means for {self.size} atoms should have at least as many different vectors but has "
                f"{different}: take a smaller codebook"
            )
        found = KMeans(self.size, n_init=1, random_state=seed % 2**32).fit(rows.numpy())
        self.atoms.copy_(torch.from_numpy(found.cluster_centers_))


def rotated(z: Tensor, atoms: Tensor) -> Tensor:
    r"""Return |e|/|z| R z with the gradient |e|/|z| Rᵀ, where the rotation R turns each z to its e.

    R z = z − 2 r rᵀz + 2 ê ẑᵀz with r in the direction of ẑ + ê. Where z is 0 it has no direction, and the
    scale is taken to be 1.
    """
    fixed = z.detach()
    length = fixed.norm(dim=-1, keepdim=True)
    scale = torch.where(length > 0, atoms.norm(dim=-1, keepdim=True) / length, 1.0)
    start, end = normalize(fixed, dim=-1), normalize(atoms, dim=-1)
    middle = normalize(start + end, dim=-1)
    away = 2 * middle * (middle * z).sum(-1, keepdim=True)
    back = 2 * end * (start * z).sum(-1, keepdim=True)
    return scale * (z - away + back)
