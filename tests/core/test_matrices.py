"""Densities of matrices, and what is no density for a chain."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.distributions as td
from torch.distributions import constraints

from probgen.core import Density
from probgen.core.density import matrices
from probgen.sampling import sample

SCALE = torch.tensor([[1.0, 0.5], [0.5, 2.0]], dtype=torch.float64)
DF = 5.0


@pytest.mark.parametrize("kind", dict.fromkeys(matrices.MAPS.values()), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("size", [1, 2, 4])
def test_maps_fill_their_support_with_the_volume_that_they_say(kind, size):
    """log |det| is that of the Jacobian of the places on and below the diagonal, by autograd."""
    transform, shape = kind(), torch.Size((size, size))
    (numbers,) = transform.inverse_shape(shape)
    x = torch.randn(5, numbers, dtype=torch.float64)
    y = transform(x)
    assert (y.shape, transform.forward_shape(x.shape)) == ((5, *shape), (5, *shape))
    assert transform.codomain.check(y).all()
    torch.testing.assert_close(transform.inv(y), x)
    if numbers:
        places = torch.tril_indices(size, size, transform.diagonal)
        jacobian = torch.func.vmap(torch.func.jacrev(lambda u: transform(u)[places[0], places[1]]))(x)
        torch.testing.assert_close(
            transform.log_abs_det_jacobian(x, y), torch.linalg.slogdet(jacobian).logabsdet
        )


def wishart():
    return Density.from_distribution(td.Wishart(torch.tensor(DF, dtype=torch.float64), SCALE))


def of_a_model():
    def model():
        pyro.sample("x", dist.Wishart(torch.tensor(DF, dtype=torch.float64), SCALE))

    return Density.from_model(model)


@pytest.mark.parametrize("density", [wishart, of_a_model])
def test_wishart_moments_by_chains(density):
    """E x = ν V; each of the four numbers within 5 standard errors."""
    generator = torch.Generator().manual_seed(0)
    chains = sample(density(), chains=32, warmup=150, draws=100, generator=generator)
    assert chains["x"].shape == (32, 100, 2, 2)
    table = chains.summary()
    mean, error = (torch.tensor(table[column].tolist()) for column in ("mean", "mcse_mean"))
    assert ((mean - DF * SCALE.flatten()) / error).abs().max() < 5
    assert (table.ess_bulk > 400).all()


@pytest.mark.parametrize(
    "support",
    [
        constraints.positive_definite,
        constraints.positive_semidefinite,
        constraints.lower_cholesky,
        constraints.lower_triangular,
        constraints.symmetric,
        constraints.square,
        dist.constraints.unit_lower_cholesky,
        dist.constraints.softplus_lower_cholesky,
        constraints.independent(constraints.positive_definite, 1),
    ],
    ids=str,
)
def test_improper_sites_of_matrices_have_positions(support):
    shape = (3, 2, 2) if support.event_dim == 3 else (2, 2)

    def model():
        x = pyro.sample("x", dist.ImproperUniform(support, (), shape))
        pyro.sample("y", dist.Normal(x, 1.0).to_event(len(shape)), obs=torch.ones(shape))

    density = Density.from_model(model)
    positions = torch.randn(4, density.dim)
    values = density.constrain(positions)
    assert support.check(values["x"]).all()
    torch.testing.assert_close(density.unconstrain(values), positions, atol=1e-4, rtol=1e-4)
    assert density.unconstrained_log_prob(positions).isfinite().all()


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (
            lambda: dist.ProjectedNormal(torch.tensor([1.0, 0.0])),
            "'x' should have a support .* in other vari",
        ),
        (
            lambda: td.OneHotCategorical(torch.ones(3)),
            "whole numbers but is OneHot.* the index of a category",
        ),
        (lambda: td.Multinomial(3, torch.ones(3)), "whole numbers but is Multinomial"),
        (
            lambda: td.TransformedDistribution(td.Normal(0.0, 1.0), td.AbsTransform()),
            "TransformedDistribution should have draws and a log_prob but lacks one",
        ),
    ],
    ids=["sphere", "one-hot", "counts", "fold"],
)
def test_laws_that_no_chain_can_walk_on_are_refused_in_a_sentence(law, words):
    with pytest.raises(ValueError, match=words):
        Density.from_distribution(law())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.complex64])
def test_dtypes_without_digits_are_refused(dtype):
    with pytest.raises(TypeError, match=f"positions should be torch.float32 or .* but are {dtype}"):
        Density(lambda x: -0.5 * x**2, dtype=dtype)


def test_laws_and_models_of_half_precision_are_refused():
    half = torch.ones(2, dtype=torch.bfloat16)
    with pytest.raises(TypeError, match=r"but are torch.bfloat16: give such a dtype, or parameters of one"):
        Density.from_distribution(td.Normal(half, half))
    with pytest.raises(TypeError, match=r"but are torch.bfloat16: give such a dtype, or parameters of one"):
        Density.from_model(lambda: pyro.sample("z", dist.Normal(half, half).to_event(1)))


@pytest.mark.parametrize("method", [None, "random_walk"])
@pytest.mark.parametrize(
    ("log_prob", "error", "words"),
    [
        (lambda x: 0.0, TypeError, r"return a tensor of shape \(8,\), .* but returned a float"),
        (lambda x: None, TypeError, "but returned a NoneType"),
        (lambda x: x.detach().sum(-1).numpy(), TypeError, "but returned a ndarray"),
        (lambda x: [x], TypeError, "but returned a list"),
        (lambda x: -(x**2).sum(-1) + 0j, TypeError, r"but returned torch.complex64"),
        (lambda x: -(x**2).sum(-1).half(), TypeError, r"but returned torch.float16: convert before"),
        (lambda x: -(x**2).sum(), ValueError, r"shape \(8,\) but returned \(\): .* over the event alone"),
        (lambda x: -(x**2), ValueError, r"shape \(8,\) but returned \(8, 3\)"),
        (lambda x: -(x**2).sum(-1, keepdim=True), ValueError, r"shape \(8,\) but returned \(8, 1\)"),
    ],
    ids=["float", "none", "numpy", "list", "complex", "half", "all", "each", "kept"],
)
def test_a_log_prob_that_is_none_is_told(method, log_prob, error, words):
    options = {} if method is None else {"method": method}
    with pytest.raises(error, match=words):
        sample(Density(log_prob, event_shape=(3,)), chains=8, warmup=5, draws=5, **options)


def test_a_number_from_a_single_chain_is_told():
    with pytest.raises(TypeError, match="a number for each value, but returned a float"):
        sample(Density(lambda x: -0.5 * math.pow(float(x), 2)), chains=1, warmup=5, draws=5)
