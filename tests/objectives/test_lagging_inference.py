"""Turns of the guide alone: the model stands still, and the guide's gradient is that of the bound."""

import pytest
import torch

from probgen import fit, models, nets
from probgen.objectives import SVI, BetaELBO, LaggingInference


def vae():
    torch.manual_seed(0)
    return models.VAE(nets.NormalHead(nets.MLP(4, 2)), nets.NormalHead(nets.MLP(2, 4), scale="shared"))


X = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))


def gradients(objective):
    torch.manual_seed(5)
    loss, _ = objective(X)
    loss.backward()
    return loss.detach(), {name: weight.grad for name, weight in objective.named_parameters()}


def test_in_a_turn_of_the_guide_the_model_has_no_gradient_and_the_loss_is_the_same():
    plain, wanted = gradients(SVI(vae(), BetaELBO(0.5)).train())
    lagging = LaggingInference(vae(), BetaELBO(0.5), steps=2).train()
    lagging.turn = "guide"
    loss, found = gradients(lagging)
    assert torch.equal(loss, plain)
    for name, gradient in found.items():
        if name.startswith("pair.encoder."):
            torch.testing.assert_close(gradient, wanted[name])
        else:
            assert gradient is None, name
    lagging.turn = "both"
    lagging.zero_grad()
    _, found = gradients(lagging)
    assert all(torch.equal(gradient, wanted[name]) for name, gradient in found.items())


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_the_decoder_moves_at_every_third_step(mode):
    pair = vae()
    objective = LaggingInference(pair, BetaELBO(), steps=2)
    weights = [part.last.weight for part in (pair.encoder.net, pair.decoder.net)]
    before, moved = [w.detach().clone() for w in weights], []
    for steps in range(1, 8):
        pair = vae()
        objective = LaggingInference(pair, BetaELBO(), steps=2)
        fit(objective, X, steps=steps, batch_size=20, seed=0, progress=False, compile=mode)
        now = [part.last.weight.detach().clone() for part in (pair.encoder.net, pair.decoder.net)]
        moved.append([not torch.equal(*two) for two in zip(now, before, strict=True)])
        before = now
    assert moved == [[True, step % 3 == 0] for step in range(1, 8)]
    assert objective.judge({"elbo": -3.0, "loss": 2.0}) == 3.0


def test_modules_of_the_guide_by_name():
    with pytest.raises(ValueError, match="modules of VAE that have weights but names 'reader'"):
        LaggingInference(vae(), guide=["reader"], steps=2)
    with pytest.raises(ValueError, match="steps should be at least 1"):
        LaggingInference(vae(), steps=0)
