"""Small model/guide pairs whose evidence is known in closed form."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen import Pair


class LinearGaussian(Pair):
    """Probabilistic PCA: z ~ N(0, I), x | z ~ N(Wz + b, σ² I); the evidence is N(b, WWᵀ + σ² I).

    The guide is N(Ax + c, S), with parameters of its own, or the exact posterior.
    """

    def __init__(self, event: int = 3, latent: int = 2, *, exact_guide: bool = False) -> None:
        super().__init__()
        gen = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(torch.randn(event, latent, generator=gen))
        self.bias = nn.Parameter(torch.randn(event, generator=gen))
        self.log_sigma = nn.Parameter(torch.tensor(-0.3))
        self.guide_map = nn.Linear(event, latent)
        self.guide_log_scale = nn.Parameter(torch.zeros(latent))
        self.exact_guide = exact_guide

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        zeros = self.weight.new_zeros(self.weight.shape[1])
        with pyro.plate("data", n if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(zeros, 1 + zeros).to_event(1))
            mean = z @ self.weight.T + self.bias
            return pyro.sample("x", dist.Normal(mean, self.log_sigma.exp()).to_event(1), obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        assert x is not None
        with pyro.plate("data", len(x)):
            if self.exact_guide:
                return pyro.sample("z", self.exact_posterior(x))
            return pyro.sample("z", dist.Normal(self.guide_map(x), self.guide_log_scale.exp()).to_event(1))

    def exact_posterior(self, x: Tensor) -> dist.MultivariateNormal:
        w, variance = self.weight, (2 * self.log_sigma).exp()
        precision = torch.eye(w.shape[1], dtype=w.dtype, device=w.device) + w.T @ w / variance
        mean = torch.linalg.solve(precision, w.T @ (x - self.bias).T / variance).T
        return dist.MultivariateNormal(mean, precision_matrix=precision)

    def evidence(self, x: Tensor) -> Tensor:
        """Return log p(x) for each row."""
        eye = torch.eye(len(self.bias), dtype=x.dtype, device=x.device)
        covariance = self.weight @ self.weight.T + (2 * self.log_sigma).exp() * eye
        return dist.MultivariateNormal(self.bias, covariance).log_prob(x)


class Subsampled(LinearGaussian):
    """The same pair with a plate of 500 data of which a batch is a part: scaled by 500 / B."""

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        assert x is not None
        zeros = self.weight.new_zeros(self.weight.shape[1])
        with pyro.plate("data", 500, subsample=torch.arange(len(x), device=x.device)):
            z = pyro.sample("z", dist.Normal(zeros, 1 + zeros).to_event(1))
            mean = z @ self.weight.T + self.bias
            return pyro.sample("x", dist.Normal(mean, self.log_sigma.exp()).to_event(1), obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        assert x is not None
        if self.exact_guide:
            law = self.exact_posterior(x)
        else:
            law = dist.Normal(self.guide_map(x), self.guide_log_scale.exp()).to_event(1)
        with pyro.plate("data", 500, subsample=torch.arange(len(x), device=x.device)):
            return pyro.sample("z", law)


class Plated(LinearGaussian):
    """The same pair with the coordinates of x in a plate of their own at -2, left of the data's."""

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        zeros = self.weight.new_zeros(self.weight.shape[1])
        with pyro.plate("data", n if x is None else len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(zeros, 1 + zeros).to_event(1))
            with pyro.plate("coordinates", len(self.bias), dim=-2):
                mean = (z * self.weight[:, None]).sum(-1) + self.bias[:, None]
                law = dist.Normal(mean, self.log_sigma.exp())
                return pyro.sample("x", law, obs=None if x is None else x.T)


def ppca_best_evidence(x: Tensor, latent: int) -> float:
    """Return the greatest mean log-likelihood of probabilistic PCA on x (Tipping and Bishop, 1999)."""
    d = x.shape[1]
    covariance = torch.cov(x.T, correction=0)
    eigenvalues = torch.linalg.eigvalsh(covariance).flip(0)
    noise = eigenvalues[latent:].mean()
    log_det = eigenvalues[:latent].log().sum() + (d - latent) * noise.log()
    return float(-0.5 * (d * torch.log(torch.tensor(2 * torch.pi)) + log_det + d))
