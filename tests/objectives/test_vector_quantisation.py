"""The loss of a VQ-VAE by hand; its atoms however a step is cut, captured, resumed, or by two processes."""

import logging

import pytest
import torch
from torch import nn

from probgen import fit, nets
from probgen.models import VQVAE
from probgen.objectives import VQ
from tests.training.test_processes import launched

T, K, D = 3, 6, 2


def model_of(codebook=lambda: nets.Codebook(K, D, revive=0.0), *, seed=0):
    torch.manual_seed(seed)
    codebook = codebook()
    encoder = nets.MLP(5, T * codebook.dim, hidden=8)
    return VQVAE(encoder, codebook, nets.NormalHead(nets.MLP(T * codebook.dim, 5, hidden=8), scale="shared"))


def x_of(n=60):
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("decay", [0.99, None])
def test_the_loss_is_its_parts_written_out(decay):
    model, x = model_of(lambda: nets.Codebook(K, D, decay=decay)).double(), x_of().double()
    loss, terms = VQ(model, commitment=0.4)(x)
    h = model.encoder(x).reshape(60, T, D)
    codes = (h[..., None, :] - model.codebook.atoms).square().sum(-1).argmin(-1)
    atoms = model.codebook.atoms[codes]
    reconstruction = model.decoder(atoms.reshape(60, T * D)).log_prob(x).mean()
    apart = (h - atoms).square().sum((1, 2)).mean()
    torch.testing.assert_close(terms["reconstruction"], reconstruction.detach())
    torch.testing.assert_close(terms["commitment"], apart.detach())
    torch.testing.assert_close(loss, -reconstruction + (0.4 if decay is not None else 1.4) * apart)
    shares = torch.bincount(codes.flatten(), minlength=K) / codes.numel()
    entropy = -torch.special.xlogy(shares, shares).sum()
    torch.testing.assert_close(terms["perplexity"], entropy.exp().double())
    assert VQ(model).judge({"loss": 9.0, "reconstruction": -3.0}) == 3.0


def test_beta_weighs_what_the_encoder_learns_and_not_what_the_atoms_do():
    x = x_of()
    gradients = {}
    for beta in (0.0, 0.5, 1.0):
        model = model_of(lambda: nets.Codebook(K, D, decay=None))
        model.codebook.fit(model.encoder(x).unflatten(-1, (T, D)), seed=0)
        VQ(model, commitment=beta)(x)[0].backward()
        gradients[beta] = (model.codebook.atoms.grad, model.encoder.last.weight.grad)
    # Atoms: the gradient of ‖sg(h) − e‖² alone, whatever β, though h is given the gradient of e.
    model.zero_grad()
    h = model.encoder(x).unflatten(-1, (T, D)).detach()
    distance = (h - model.codebook.embed(model.codebook.nearest(h))).square().sum((1, 2)).mean()
    (expected,) = torch.autograd.grad(distance, model.codebook.atoms)
    assert expected.abs().sum() > 0
    for atoms, _ in gradients.values():
        torch.testing.assert_close(atoms, expected)
    none, half, one = (encoder for _, encoder in gradients.values())
    torch.testing.assert_close(one - none, 2 * (half - none))
    assert (half - none).abs().max() > 1e-4


def test_levels_need_neither_term():
    loss, terms = VQ(model_of(lambda: nets.FiniteScalar([4, 3])))(x_of())
    assert set(terms) == {"reconstruction", "perplexity"}
    assert torch.equal(loss.detach(), -terms["reconstruction"])


def trained(mode="eager", *, seed=0, steps=24, **options):
    objective = VQ(model_of(lambda: nets.Codebook(K, D, rotation=True), seed=seed))
    options = {"batch_size": 20, "seed": 3, "progress": False} | options
    fit(objective, x_of(), steps=steps, compile=mode, **options)
    return objective


def state(objective):
    return [value.clone() for value in objective.state_dict().values()]


def test_captured_steps_and_those_after_a_cut_are_the_eager_ones_to_the_bit(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        eager, graph = trained(), trained("graph")
    assert "eagerly" not in caplog.text
    assert all(map(torch.equal, state(eager), state(graph)))
    trained("graph", steps=11, checkpoint=tmp_path)
    resumed = trained("graph", seed=1, checkpoint=tmp_path, resume=True)
    whole = trained("graph", checkpoint=tmp_path / "whole")
    assert all(map(torch.equal, state(whole), state(resumed)))


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_a_batch_in_parts_moves_the_atoms_as_the_whole(mode):
    ends = []
    for parts in (1, 2):
        objective = VQ(model_of())
        sgd = torch.optim.SGD(objective.parameters(), lr=1e-2)
        fit(objective, x_of(), steps=6, batch_size=20, accumulate=parts, optimizer=sgd, seed=0,
            compile=mode, progress=False)  # fmt: skip
        ends.append(objective.codebook.atoms)
    torch.testing.assert_close(*ends)
    assert not torch.equal(ends[0], model_of().codebook.atoms)


TWO = """
from probgen.objectives import VQ
from tests.objectives.test_vector_quantisation import model_of, x_of

objective = VQ(model_of(seed=rank))
history = fit(objective, x_of(64), steps=8, compile="graph", **options)
(folder / f"{rank}.json").write_text(json.dumps([v.tolist() for v in objective.codebook.buffers()]))
"""


def test_two_processes_move_the_atoms_as_one(tmp_path):
    first, second = launched(TWO, tmp_path)[0]
    assert first[:2] == second[:2]
    objective = VQ(model_of(seed=0))
    sgd = torch.optim.SGD(objective.parameters(), lr=0.05, momentum=0.9)
    fit(objective, x_of(64), steps=8, batch_size=64, optimizer=sgd, seed=1, progress=False)
    for name, found in zip(("atoms", "use"), first, strict=False):
        torch.testing.assert_close(torch.tensor(found), objective.codebook.get_buffer(name))


def test_all_codes_come_into_use_where_one_was_all():
    """Atoms that start far from all vectors but one: those without use are put where vectors are."""
    model = model_of(lambda: nets.Codebook(K, D))
    model.codebook.atoms.add_(torch.arange(K)[:, None] * 100.0)
    x = x_of(600)
    assert len(model.encode(x).mean.unique()) == 1
    fit(VQ(model), x, steps=40, batch_size=200, seed=0, progress=False)
    assert len(model.encode(x).mean.unique()) == K


def test_a_weight_below_0_is_refused():
    with pytest.raises(ValueError, match=r"commitment should be at least 0 and finite but is -1"):
        VQ(model_of(), commitment=-1)
    with pytest.raises(AttributeError):
        VQ(nn.Linear(2, 2))
