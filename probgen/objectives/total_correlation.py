r"""The KL of a guide in three parts, by the aggregate posterior q(z) = (1/N) Σ_n q(z | x_n) of N data:

mean KL(q(z | x) ‖ p(z)) = I(z; n) + KL(q(z) ‖ Π_j q(z_j)) + Σ_j KL(q(z_j) ‖ p(z_j)):
what a code says of which datum it is of, the total correlation of its coordinates, and how far each is from
its prior.
"""

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from probgen.core import Objective, Pair, Terms, evaluating
from probgen.objectives.aggregate_posterior import code_sites
from probgen.training.rows_of_data import rows_of_data

logger = logging.getLogger("probgen")

BLOCK = 10**7
"""Numbers of a block of densities, so that many data need no more memory than few."""


class KLParts(NamedTuple):
    """The parts of a KL, in nats per datum."""

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_kl: Tensor


class TotalCorrelation(Objective):
    r"""The total correlation of codes, KL(q(z) ‖ Π_j q(z_j)), from a batch: what β-TCVAE weighs by β − 1.

    A VAE with it is a sum, minus the ELBO plus (β − 1) times the total correlation::

        Sum({"svi": SVI(vae), "tc": TotalCorrelation(vae)}, weights={"tc": beta - 1})

    Of B of N data, q(z_i) is estimated without bias by q(z_i | x_i) / N + (N − 1)/N · mean_{j ≠ i} q(z_i |
    x_j): a code's own datum is one of N, not one of B. Its logarithm has a bias, as in all estimates from
    batches; and q(z) is that of N data, which :func:`kl_parts` says more of. Of ten independent normal
    coordinates of which noise is 9 % of the variance, so that the total correlation of the law is 0, it is
    4.6 nats at B = 128, N = 2,000. So this is a term to learn by and no measurement.

    Terms: ``mutual_information``, ``total_correlation`` and ``dimension_kl``, which add up to a Monte Carlo
    estimate of the KL.

    Args:
        pair: the model/guide pair. Its prior has independent coordinates, for ``dimension_kl`` to be a KL.
        rows: N; by default the data of the training at work, and elsewhere the batch, as all the data.
        site: the latent site, by default the only one. Its guide has independent coordinates given x.

    Source: Chen, Li, Grosse and Duvenaud (2018), Isolating sources of disentanglement in VAEs. Their
    stratified weights stand in the first column of the matrix of densities in their code and many others;
    here they are on its diagonal.
    """

    least_rows = 2

    def __init__(self, pair: Pair, *, rows: int | None = None, site: str | None = None) -> None:
        super().__init__()
        if rows is not None and rows < 2:
            raise ValueError(f"rows should be at least 2, the number of data, but got {rows}")
        self.pair = pair
        self.rows = rows
        self.site = site

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the estimated total correlation, and the three parts."""
        size = len(batch[0])
        rows = self.rows or rows_of_data() or size
        if size < 2:
            raise ValueError(f"a batch should have at least 2 data for a total correlation but has {size}")
        parts = _parts(self.pair, batch, max(rows, size), self.site)
        return parts.total_correlation, {name: value.detach() for name, value in parts._asdict().items()}


@torch.no_grad()
def kl_parts(pair: Pair, x: Tensor, *context: Tensor, site: str | None = None) -> KLParts:
    r"""Return the three parts of a pair's KL on data, by the aggregate posterior of all of them.

    One code is drawn for each of the N data, from Pyro's state of randomness, and q(z) is exact in each: the
    only errors are those of N draws. The cost is N² densities, in evaluation mode and without gradient.

    Here q(z) is a mixture of N laws, and the mutual information is at most log N. Where narrow codes of many
    coordinates have more in the law that the data are from, what it lacks stands in the total correlation:
    a mutual information within a nat of log N is said in the log. :func:`gaussian_total_correlation` has no
    such limit.

    Args:
        pair: the model/guide pair.
        x: data, shape (N, \*event), N ≥ 2.
        context: of model and guide, each of N rows.
        site: the latent site, by default the only one.

    >>> from probgen import models, nets
    >>> vae = models.VAE(nets.NormalHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3)))
    >>> kl_parts(vae, torch.randn(50, 3)).total_correlation.shape
    torch.Size([])
    """
    if len(x) < 2:
        raise ValueError(f"x should have at least 2 data for a total correlation but has {len(x)}")
    with evaluating(pair):
        parts = _parts(pair, (x, *context), len(x), site)
    most = math.log(len(x))
    if parts.mutual_information > most - 1:
        logger.warning(
            "the mutual information, %.2f nats, is at its most for %d data, log %d = %.2f: what it lacks is "
            "in the total correlation: take more data, or gaussian_total_correlation",
            parts.mutual_information,
            len(x),
            len(x),
            most,
        )
    return parts


@torch.no_grad()
def gaussian_total_correlation(pair: Pair, x: Tensor, *context: Tensor, site: str | None = None) -> Tensor:
    r"""Return the total correlation of the normal law that has the covariance of the codes, in nats.

    ½ (Σ_i log C_ii − log |C|), C = Cov_x[μ(x)] + E_x[Σ(x)] over the data: what coordinates share by linear
    correlation, exact where the aggregate posterior is normal, without drawing a code.

    Args:
        pair, x, context, site: as in :func:`kl_parts`.
    """
    with evaluating(pair):
        law = guide_by_coordinate(pair, x, *context, site=site)
    covariance = torch.cov(law.mean.T, correction=0) + law.variance.mean(0).diag()
    return 0.5 * (covariance.diagonal().log().sum() - torch.linalg.slogdet(covariance).logabsdet)


def guide_by_coordinate(pair: Pair, *batch: Tensor, site: str | None = None) -> Distribution:
    """Return the guide's law of each coordinate of the one latent site, batch shape (rows, coordinates)."""
    sites, _ = _one_site(pair, *batch, site=site)
    return _by_coordinate(sites, len(batch[0]))


def _one_site(pair: Pair, *batch: Tensor, site: str | None) -> tuple[Any, Any]:
    guide_sites, prior_sites = code_sites(pair, *batch, site=site)
    if len(guide_sites) > 1:
        raise ValueError(f"site should name one of the latent sites {list(guide_sites)} but is None")
    ((name, found),) = guide_sites.items()
    return found | {"name": name}, prior_sites[name]


def _parts(pair: Pair, batch: tuple[Tensor, ...], rows: int, site: str | None) -> KLParts:
    found, prior_site = _one_site(pair, *batch, site=site)
    z, law = found["value"], _by_coordinate(found, len(batch[0]))
    given_x = law.log_prob(z).sum(-1)
    joint, marginals = _aggregate(law, z, rows)
    prior = prior_site["fn"].log_prob(z)
    return KLParts((given_x - joint).mean(), (joint - marginals).mean(), (marginals - prior).mean())


def _aggregate(law: Distribution, z: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Return log q(z) and Σ_j log q(z_j) for each code, of ``rows`` data of which the batch is a part."""
    size, dim = z.shape
    apart = math.log((rows - 1) / (rows * (size - 1)))
    own = torch.full((size,), -math.log(rows) - apart, dtype=z.dtype, device=z.device)
    weights = own.diag() + apart
    joints, marginals = [], []
    step = size if size * size * dim <= BLOCK else max(1, BLOCK // (size * dim))
    for start in range(0, size, step):
        # log q(z_i,d | x_j): codes i down, data j across, coordinates d last.
        each = law.log_prob(z[start : start + step, None])
        log_weights = weights[start : start + step]
        joints.append((each.sum(-1) + log_weights).logsumexp(1))
        marginals.append((each + log_weights[..., None]).logsumexp(1).sum(-1))
    return torch.cat(joints), torch.cat(marginals)


def _by_coordinate(site: Any, rows: int) -> Distribution:
    name, law = site["name"], site["fn"]
    if not isinstance(law, Independent) or tuple(law.base_dist.batch_shape) != (rows, *law.event_shape):
        raise ValueError(
            f"guide site {name!r} should have independent coordinates, a law for each datum such as that of "
            f"nets.NormalHead, but is {type(law).__name__} of batch shape {tuple(law.batch_shape)} and event "
            f"shape {tuple(law.event_shape)}"
        )
    if len(law.event_shape) != 1:
        raise ValueError(
            f"guide site {name!r} should be a vector for each datum but has shape {tuple(law.event_shape)}"
        )
    return law.base_dist
