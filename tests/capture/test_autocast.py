"""A training inside torch.autocast casts its weights anew at each step, whatever stands around it."""

import pytest
import torch

from probgen import SVI, fit, models, nets
from probgen.training.callbacks import Callback


def vae():
    torch.manual_seed(0)
    return SVI(models.VAE(nets.NormalHead(nets.MLP(4, 2)), nets.NormalHead(nets.MLP(2, 4))))


def fabric_of(name):
    if name is None:
        return None
    fabric = pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1, precision=name)
    fabric.launch()
    return fabric


class Evaluates(Callback):
    """Evaluates the objective in the course of the training, without gradients and with."""

    def __init__(self, x):
        self.x, self.losses = x, []

    def on_step_end(self, objective, history):
        for gradients in (False, True):
            with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(gradients):
                torch.manual_seed(1)
                self.losses.append(float(objective(self.x)[0].detach()))


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize(
    "options",
    [{}, {"accumulate": 2}, {"patience": 3}, {"precision": "bf16-mixed"}, {"precision": "32-true"}],
    ids=str,
)
def test_a_training_inside_autocast_is_the_one_without_its_cache(options, mode, caplog):
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)) @ torch.diag(
        torch.tensor([1.0, 0.8, 0.5, 0.5])
    )
    outcomes = []
    for cache in (False, True):
        objective, seen = vae(), Evaluates(x[:8])
        other = {name: value for name, value in options.items() if name != "precision"}
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=cache):
            history = fit(
                objective, x, steps=9, batch_size=32, validation=x[:16], seed=0, compile=mode, progress=False,
                optimizer=lambda p: torch.optim.Adam(p, lr=0.01), callbacks=[seen],
                fabric=fabric_of(options.get("precision")), **other,
            )  # fmt: skip
            torch.manual_seed(2)
            after = float(objective(x)[0].detach())
        torch.manual_seed(2)
        apart = float(objective(x)[0].detach()) - after
        outcomes.append([history.values("loss"), history.values("loss", "validation"), seen.losses, after])
        outcomes[-1] += [value.tolist() for value in objective.state_dict().values()]
        assert abs(apart) < 0.05 * abs(after)  # in float32, but for the rounding of bfloat16
    assert outcomes[1] == outcomes[0]
    assert "probgen" not in {record.name for record in caplog.records}
