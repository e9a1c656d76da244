"""Quantisers against brute force: nearest atoms, moving averages by hand, gradients by formula, levels."""

import itertools

import pytest
import torch
from sklearn.cluster import KMeans
from torch.autograd.functional import jacobian

from probgen import nets
from probgen.nets.codebook import rotated

double = torch.float64


def vectors(*shape, seed=0):
    return torch.randn(*shape, dtype=double, generator=torch.Generator().manual_seed(seed))


def codebook(size=5, dim=3, **options):
    torch.manual_seed(1)
    made = nets.Codebook(size, dim, **options).double()
    with torch.no_grad():
        made.atoms.copy_(vectors(size, dim, seed=2))
    return made


@pytest.mark.parametrize("away", [0.0, 1e3])
def test_the_nearest_atom_is_that_of_brute_force(away, device):
    made = codebook(40, 3).float().to(device)
    made.atoms.add_(away)  # where ‖z‖² alone has few digits left
    z = (vectors(4, 100, 3, seed=3).float() + away).to(device)
    apart = (z[..., None, :].double() - made.atoms.double()).square().sum(-1)
    assert torch.equal(made.nearest(z), apart.argmin(-1))
    with torch.autocast(device.type, torch.bfloat16):
        assert torch.equal(made.nearest(z), apart.argmin(-1))


@pytest.mark.parametrize("rotation", [False, True])
def test_what_is_quantised_is_the_atom_to_the_bit(rotation):
    made = codebook(rotation=rotation).float()
    codes, quantised = made(vectors(7, 4, 3).float().requires_grad_())
    assert codes.dtype == torch.int64
    assert torch.equal(quantised, made.embed(codes))


def test_the_gradient_passes_straight_through():
    z = vectors(6, 3).requires_grad_()
    weights = vectors(6, 3, seed=4)
    (codebook()(z)[1] * weights).sum().backward()
    assert torch.equal(z.grad, weights)


def test_the_jacobian_of_the_rotation_trick_is_the_scaled_rotation_of_its_formula():
    made = codebook(rotation=True)
    for z in vectors(6, 3):
        q = made.embed(made.nearest(z))
        e, end = z / z.norm(), q / q.norm()
        r = (e + end) / (e + end).norm()
        turn = torch.eye(3, dtype=double) - 2 * torch.outer(r, r) + 2 * torch.outer(end, e)
        torch.testing.assert_close(jacobian(lambda z: made(z)[1], z), turn * q.norm() / z.norm())
        torch.testing.assert_close(turn @ turn.T, torch.eye(3, dtype=double))  # a rotation
        assert torch.linalg.det(turn).item() == pytest.approx(1)
        torch.testing.assert_close(rotated(z, q), q)


def test_a_vector_of_no_direction_has_a_finite_gradient():
    made = codebook(rotation=True)
    z = torch.zeros(2, 3, dtype=double, requires_grad=True)
    made(z)[1].sum().backward()
    assert z.grad.isfinite().all()


def stepped(made, *parts):
    for part in parts:
        made(part)
    made.after_step()


def test_atoms_are_averages_of_the_vectors_on_them_and_those_without_stay():
    """Running k-means by hand: m and N apart, each averaged with weight 1 − γ."""
    made = codebook(revive=0.0, decay=0.8)
    atoms = made.atoms.clone()
    atoms[4] = made.atoms[4] = 1e3  # on which nothing ever falls
    means, counts = torch.zeros(5, 3, dtype=double), torch.zeros(5, dtype=double)
    for step in range(20):
        z = vectors(50, 3, seed=10 + step)
        nearest = (z[:, None] - atoms).square().sum(-1).argmin(-1)
        for k in range(5):
            own = z[nearest == k]
            means[k] = 0.8 * means[k] + 0.2 * own.sum(0)
            counts[k] = 0.8 * counts[k] + 0.2 * len(own)
            if counts[k] > 0:
                atoms[k] = means[k] / counts[k]
        stepped(made, z)
        torch.testing.assert_close(made.atoms, atoms)
        torch.testing.assert_close(made.use, counts)
    assert (made.atoms[4] == 1e3).all()


def test_averages_of_float64_are_exact_to_its_digits():
    made = codebook(revive=0.0, decay=0.9)
    counts = torch.zeros(5, dtype=double)
    for step in range(5):
        z = vectors(50, 3, seed=10 + step)
        counts = 0.9 * counts + 0.1 * made.nearest(z).bincount(minlength=5).double()
        stepped(made, z)
    torch.testing.assert_close(made.use, counts, rtol=1e-14, atol=0.0)


def test_without_memory_a_step_is_one_of_k_means():
    made = codebook(decay=0.0, revive=0.0)
    z = vectors(200, 3)
    found = KMeans(5, init=made.atoms.numpy().copy(), n_init=1, max_iter=1, tol=0)
    found.fit(z.numpy())
    stepped(made, z)
    torch.testing.assert_close(made.atoms, torch.from_numpy(found.cluster_centers_))


def test_a_step_in_parts_is_the_step_of_the_whole():
    z = vectors(60, 3)
    whole, cut = codebook(revive=0.0), codebook(revive=0.0)
    for _ in range(3):
        stepped(whole, z)
        stepped(cut, z[:40], z[40:])
    torch.testing.assert_close(cut.atoms, whole.atoms)
    torch.testing.assert_close(cut.use, whole.use)


def test_an_unused_atom_is_put_in_the_place_of_a_vector_and_has_time_to_be_found():
    made = codebook(decay=0.9, revive=0.1)
    made.atoms[3] = 1e3
    z = vectors(40, 3)
    stepped(made, z)
    assert (z == made.atoms[3]).all(-1).any()
    others = made.use[[0, 1, 2, 4]].sum()
    assert made.use[3].item() == pytest.approx(float(others) / 5)  # the mean of all, itself at 0
    for _ in range(100):  # until the use of each is what it stays
        stepped(made, z)
    made.atoms[3], made.use[3] = 1e3, made.use.mean()
    lasted = 0
    while (made.atoms[3] == 1e3).all():
        stepped(made, z)
        lasted += 1
    assert lasted in (21, 22)  # 0.9^n < 0.1 of a mean that may fall by a fifth with it


def test_nothing_moves_in_evaluation_mode_nor_in_a_step_that_quantised_nothing():
    made = codebook()
    stepped(made, vectors(40, 3))
    before = {name: value.clone() for name, value in made.named_buffers()}
    made.eval()
    stepped(made, vectors(40, 3, seed=5))
    made.train()
    made.after_step()
    assert all(
        torch.equal(value, before[name]) for name, value in made.named_buffers() if name != "candidates"
    )


def test_k_means_starts_the_atoms_at_centres():
    centres = 10 * vectors(5, 3)
    z = (centres[:, None] + 0.01 * vectors(5, 30, 3, seed=1)).reshape(-1, 3)
    made = codebook(decay=None)
    made.fit(z, seed=0)
    apart = torch.cdist(made.atoms.detach(), centres)
    assert (apart.min(1).values < 0.02).all()
    assert sorted(apart.argmin(1).tolist()) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"k-means for 5 atoms should have .* different vectors but has 1"):
        made.fit(torch.ones(9, 3))
    with pytest.raises(ValueError, match="and hold NaN or infinity"):
        made.fit(torch.full((9, 3), torch.nan))


@pytest.mark.parametrize("levels", [[2], [3, 2], [8, 6, 5], [4, 4]])
def test_codes_of_levels_and_their_values_are_one_to_one(levels):
    made = nets.FiniteScalar(levels).double()
    every = torch.tensor(list(itertools.product(*[torch.linspace(-1, 1, n).tolist() for n in levels])))
    codes = torch.arange(made.size)
    values = made.embed(codes)
    assert values.dtype == double
    assert len(values.unique(dim=0)) == made.size == len(every)
    torch.testing.assert_close(values.sort(0).values, every.double().sort(0).values, atol=1e-6, rtol=0)
    assert torch.equal(made.nearest(values.atanh().clamp(-9, 9)), codes)


def test_each_number_goes_to_the_level_nearest_to_its_tanh_and_two_levels_are_the_sign():
    z = torch.linspace(-4, 4, 999, dtype=double)[:, None]
    for count in (2, 3, 4, 7):
        made = nets.FiniteScalar([count]).double()
        grid = torch.linspace(-1, 1, count, dtype=double)
        nearest = (z.tanh() - grid).abs().argmin(1)
        inside = (z.tanh() - grid).abs().sort(1).values.diff(dim=1)[:, 0] > 1e-9  # no ties
        assert torch.equal(made.nearest(z)[inside], nearest[inside])
        codes, values = made(z)
        assert torch.equal(values, made.embed(codes))
    signs = nets.FiniteScalar([2, 2])(torch.tensor([[-0.1, 0.1], [3.0, -3.0]]))[1]
    assert signs.tolist() == [[-1, 1], [1, -1]]


def test_the_gradient_of_levels_is_that_of_tanh():
    z = vectors(5, 2).requires_grad_()
    nets.FiniteScalar([5, 4]).double()(z)[1].sum().backward()
    torch.testing.assert_close(z.grad, 1 - z.detach().tanh() ** 2)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: nets.Codebook(1, 3), "size should be at least 2 but got 1"),
        (lambda: nets.Codebook(4, 0), "dim should be at least 1 but got 0"),
        (lambda: nets.Codebook(4, 3, decay=1.0), r"decay should be at least 0 and below 1 but is 1\.0"),
        (lambda: nets.Codebook(4, 3, revive=-1), "revive should be at least 0 and below 1 but is -1"),
        (lambda: nets.Codebook(4, 3)(torch.zeros(5, 2)), r"vectors should have 3 numbers, .* shape \(5, 2\)"),
        (lambda: nets.FiniteScalar([]), "levels should be told for at least one coordinate"),
        (lambda: nets.FiniteScalar([3, 1]), "levels should be at least 2 but got 1"),
        (
            lambda: nets.FiniteScalar([1000] * 4),
            r"at most 2\^31 codes but .* make 1,000,000,000,000",
        ),
        (lambda: nets.FiniteScalar([3, 2])(torch.zeros(5, 3)), r"vectors should have 2 numbers, .* \(5, 3\)"),
    ],
)
def test_what_does_not_fit_is_said(made, sentence):
    with pytest.raises(ValueError, match=sentence):
        made()
