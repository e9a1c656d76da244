"""The contenders of ``tests.benchmarks.vae_mnist``, each trained in a process of its own.

``python -m tests.benchmarks.vae_mnist_contenders NAME WEIGHTS`` trains an epoch for each line that it reads,
and answers with the epochs and the seconds of the processor that they took, as JSON. The weights are then in
the file. What is read, written and waited for is not counted; capture, compilation and set-up are.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import pyro.infer
import pyro.optim
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from probgen import Pair, data, fit, models, nets, objectives, priors, training
from probgen.core import seeded
from probgen.training import schedules
from tests.benchmarks.results import cpu_seconds

LATENT, HIDDEN, BATCH, RATE = 40, (300, 300), 100, 2e-3
COMPONENTS = 100
"""Of the priors that are mixtures of the guide."""
WARM = 0.1
"""The share of a budget in which the KL of the two-level VAE grows to its full weight."""
EPOCHS = 40
"""Of a training without a budget or settings of its own."""
JUDGED = (13, 15, 17, 20, 23, 26, 30, 35, 40)
"""Epochs after which such a training is judged in a race."""
MOST = 2000
"""Epochs of one with a budget, if it lasts for so many; none does."""


class Settings(NamedTuple):
    """How a contender trains to one quality: its rate rises over ``rising`` steps and falls evenly to 0.

    With them come betas of 0.9 and 0.99, and first weights of their own (:func:`begin`).
    """

    batch: int
    rate: float
    epochs: int
    rising: int

    def rate_at(self, step: int) -> float:
        left = 1 - step / (self.epochs * math.ceil(ROWS / self.batch))
        return self.rate * min(1.0, (step + 1) / self.rising) * left


ROWS = 50_000
BETAS = (0.9, 0.99)
OWN = {95: Settings(200, 5e-3, 7, 100), 90: Settings(200, 5e-3, 32, 100)}
"""By quality in nats, chosen for probgen on validation pictures."""
GAIN = 1.5
"""Of the first weights of hidden layers with such settings, which are orthogonal."""


class Spent:
    """What a training has used, and the learning rate that follows from it: by a cosine to a twentieth.

    It falls once an epoch, as the budget of CPU seconds is used up; without a budget, as the epochs are.
    """

    def __init__(self, weights: Path, budget: float) -> None:
        self.weights, self.budget = weights, budget
        self.epochs, self.seconds, self.last = 0, 0.0, math.nan
        self.falling = schedules.cosine(RATE, RATE / 20, steps=1000)

    @property
    def share(self) -> float:
        return self.epochs / EPOCHS if self.budget == math.inf else self.seconds / self.budget

    @property
    def rate(self) -> float:
        return self.falling(int(1000 * self.share))

    def begin(self) -> None:
        """Wait for the first line; then the time runs."""
        self._wait()

    def epoch_ended(self, pair: Pair) -> None:
        """Stop the time, save the weights, answer and wait."""
        self.seconds += cpu_seconds() - self.last
        self.epochs += 1
        save_file({k: v.contiguous().clone() for k, v in pair.state_dict().items()}, self.weights)
        print(json.dumps({"epochs": self.epochs, "seconds": self.seconds}), flush=True)
        self._wait()

    def _wait(self) -> None:
        if not sys.stdin.readline():
            raise SystemExit
        self.last = cpu_seconds()


class LogVariance(nets.Head):
    """Normal laws as pythae writes them: the net's second block is log σ²."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net, 2)

    def forward(self, *context: Tensor) -> dist.Distribution:
        mean, log_variance = self.blocks(*context).unbind(-2)
        return dist.Normal(mean, (log_variance / 2).exp()).to_event(1)


class LogScale(nets.Head):
    """Normal laws as Pyro's example writes them: the net's second block is log σ."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net, 2)

    def forward(self, *context: Tensor) -> dist.Distribution:
        mean, log_scale = self.blocks(*context).unbind(-2)
        return dist.Normal(mean, log_scale.exp()).to_event(1)


def encoder(head: Callable[[nn.Module], nets.Head] = nets.NormalHead) -> nets.Head:
    return head(nets.MLP(784, LATENT, hidden=HIDDEN))


def decoder(inputs: int = LATENT) -> nets.BernoulliHead:
    return nets.BernoulliHead(nets.MLP(inputs, 784, hidden=HIDDEN))


def gaussian() -> models.VAE:
    return models.VAE(encoder(), decoder())


def vamp(grey: Tensor) -> models.VAE:
    head = encoder()
    return models.VAE(head, decoder(), priors.Vamp(head, COMPONENTS, data=grey))


def flow() -> models.VAE:
    transforms = nets.Couplings(LATENT, layers=6, hidden=(64, 64))
    return models.VAE(encoder(), decoder(), priors.Flow(LATENT, transforms=transforms))


def lars() -> models.VAE:
    net = nets.MLP(LATENT, 1, hidden=(100, 100))
    return models.VAE(encoder(), decoder(), priors.Rejection(net, LATENT, truncation=100))


def two_levels() -> models.HierarchicalVAE:
    below = priors.Conditional(nets.MLP(LATENT, LATENT, hidden=HIDDEN))
    lower = nets.NormalHead(nets.Joined(nets.MLP(784 + LATENT, LATENT, hidden=HIDDEN)))
    return models.HierarchicalVAE(decoder(2 * LATENT), below, encoder(), lower)


def peers_vae(head: Callable[[nn.Module], nets.Head]) -> models.VAE:
    """The pair by which a peer's weights are judged; the peer trains its very nets."""
    return models.VAE(encoder(head), decoder())


def peers_vamp(grey: Tensor) -> models.VAE:
    head = encoder(LogVariance)
    return models.VAE(head, decoder(), priors.Vamp(head, COMPONENTS, data=grey))


Train = Callable[[Any, Tensor, Spent], None]


class Contender(NamedTuple):
    """What is judged, made from the grey pictures, how it is trained, and when it is judged in a race."""

    pair: Callable[[Tensor], Pair]
    train: Train
    judged: tuple[int, ...] = JUDGED


def by_own(quality: int, train: Train, head: Callable[[nn.Module], nets.Head] = nets.NormalHead) -> Contender:
    """Return one that trains by probgen's settings for a quality, judged in its last three epochs."""
    own = OWN[quality]
    return Contender(
        lambda _: models.VAE(encoder(head), decoder()),
        partial(train, own=own),
        tuple(range(own.epochs - 2, own.epochs + 1)),
    )


def by_probgen(
    pair: Pair, grey: Tensor, spent: Spent, *, compile: str = "auto", own: Settings | None = None
) -> None:
    """Train by ``fit``: its own batches, fused Adam, the loss captured; with its own settings in bfloat16."""
    from torch._inductor import config as inductor

    inductor.force_disable_caches, inductor.compile_threads = True, 1  # a first compilation, all counted

    class Told(training.Callback):
        def on_epoch_end(self, *_: object) -> None:
            spent.epoch_ended(pair)

    spent.begin()
    plans: dict[str, Any] = {"lr": lambda step: spent.rate}
    bound: objectives.Bound = objectives.ELBO()
    if isinstance(pair, models.HierarchicalVAE):
        bound = objectives.BetaELBO(0.0)
        plans["elbo.beta"] = lambda step: min(1.0, spent.share / WARM)
    rate, betas, epochs = RATE, (0.9, 0.999), EPOCHS if spent.budget == math.inf else MOST
    fabric = None
    if own is not None:
        begin(pair, grey)
        rate, betas, epochs = own.rate, BETAS, own.epochs
        plans["lr"] = own.rate_at
        fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    fit(
        objectives.SVI(pair, bound),
        data.Binarised(grey),
        epochs=epochs,
        batch_size=own.batch if own else BATCH,
        optimizer=partial(torch.optim.Adam, lr=rate, betas=betas, fused=True),
        schedules=plans,
        compile=compile if spent.budget == math.inf else "graph",  # "auto" sees the steps of MOST epochs
        fabric=fabric,
        callbacks=[Told()],
        seed=0,
        progress=False,
    )


def begin(pair: Pair, grey: Tensor) -> None:
    """Make first weights orthogonal, and the first output of the decoder the mean picture."""
    noise = torch.Generator().manual_seed(1)
    for net in (pair.encoder.net, pair.decoder.net):
        for layer in [part for part in net.modules() if isinstance(part, nn.Linear)]:
            gain = 1.0 if layer is net.last else GAIN
            nn.init.orthogonal_(layer.weight, gain=gain, generator=noise)
            nn.init.zeros_(layer.bias)
    with torch.no_grad():
        pair.decoder.net.last.bias.copy_(grey.mean(0).clamp(0.002, 0.998).logit())


def by_pyro(pair: models.VAE, grey: Tensor, spent: Spent, *, loader: bool = True) -> None:
    """Train as Pyro's example of a VAE does: a DataLoader, ``Trace_ELBO``, ``pyro.optim.Adam``."""
    encode, decode = pair.encoder.net, pair.decoder.net

    def model(x: Tensor) -> None:
        pyro.module("decoder", decode)
        with pyro.plate("data", x.shape[0]):
            loc = torch.zeros(x.shape[0], LATENT, dtype=x.dtype, device=x.device)
            scale = torch.ones(x.shape[0], LATENT, dtype=x.dtype, device=x.device)
            z = pyro.sample("latent", dist.Normal(loc, scale).to_event(1))
            image = torch.sigmoid(decode(z))
            pyro.sample("obs", dist.Bernoulli(image, validate_args=False).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encode)
        with pyro.plate("data", x.shape[0]):
            loc, log_scale = encode(x).chunk(2, -1)
            pyro.sample("latent", dist.Normal(loc, log_scale.exp()).to_event(1))

    spent.begin()
    adam = pyro.optim.Adam({"lr": RATE})
    svi = pyro.infer.SVI(model, guide, adam, loss=pyro.infer.Trace_ELBO())
    loaded = DataLoader(TensorDataset(grey), batch_size=BATCH, shuffle=True)
    for _ in range(EPOCHS):
        for (x,) in loaded if loader else data.batches(grey, BATCH):
            svi.step(torch.bernoulli(x))
        spent.epoch_ended(pair)
        for optimizer in adam.optim_objs.values():
            optimizer.param_groups[0]["lr"] = spent.rate


def by_pythae(pair: models.VAE, grey: Tensor, spent: Spent, *, own: Settings | None = None) -> None:
    """Train by pythae's trainer; before each epoch all pictures are binarised afresh, at one stroke.

    With settings, Adam is fused as well, which its configuration can ask for; bfloat16 on a CPU it cannot.
    """
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAMP, VAEConfig, VAMPConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = pair.encoder.net

        def forward(self, x: Tensor) -> ModelOutput:
            mean, log_variance = self.net(x).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = pair.decoder.net

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=torch.sigmoid(self.net(z)))

    class Told(TrainingCallback):
        batches = 0

        def on_epoch_begin(self, *_: object, **__: object) -> None:
            dataset.data = torch.bernoulli(grey)

        def on_epoch_end(self, *_: object, **__: object) -> None:
            if mixture:
                pair.prior.inputs.data = model.pseudo_inputs(model.idle_input).detach()
            spent.epoch_ended(pair)
            if own is None:
                set_rate(spent.rate)

        def on_train_step_end(self, *_: object, **__: object) -> None:  # a batch
            if own is not None:
                self.batches += 1
                set_rate(own.rate_at(self.batches))

    def set_rate(rate: float) -> None:
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate

    mixture = isinstance(pair.prior, priors.Vamp)
    common = {"input_dim": (784,), "latent_dim": LATENT, "reconstruction_loss": "bce"}
    spent.begin()
    epochs = EPOCHS if spent.budget == math.inf else MOST
    chosen: dict[str, Any] = {
        "learning_rate": RATE,
        "per_device_train_batch_size": BATCH,
        "num_epochs": epochs,
    }
    if own is not None:
        begin(pair, grey)
        chosen = {"learning_rate": own.rate_at(0), "per_device_train_batch_size": own.batch}
        chosen |= {"num_epochs": own.epochs, "optimizer_params": {"betas": BETAS, "fused": True}}
    if mixture:
        model = VAMP(VAMPConfig(**common, number_components=COMPONENTS), Encoder(), Decoder())
    else:
        model = VAE(VAEConfig(**common), Encoder(), Decoder())
    dataset = BaseDataset(torch.bernoulli(grey), torch.zeros(len(grey)))
    config = BaseTrainerConfig(output_dir=tempfile.mkdtemp(), no_cuda=True, seed=0, **chosen)
    trainer = BaseTrainer(model, dataset, training_config=config, callbacks=[Told()])
    trainer.train()


CONTENDERS = {
    "probgen, compile='auto'": Contender(lambda _: gaussian(), by_probgen),
    "probgen, compile='compile'": Contender(lambda _: gaussian(), partial(by_probgen, compile="compile")),
    "probgen, for 95 nats": by_own(95, partial(by_probgen, compile="graph")),
    "probgen, for 90 nats": by_own(90, partial(by_probgen, compile="compile")),
    "pythae": Contender(lambda _: peers_vae(LogVariance), by_pythae),
    "pythae, set as for 95": by_own(95, by_pythae, LogVariance),
    "Pyro": Contender(lambda _: peers_vae(LogScale), by_pyro),
    "Pyro, batches cut from a tensor": Contender(
        lambda _: peers_vae(LogScale), partial(by_pyro, loader=False)
    ),
    "VAE": Contender(lambda _: gaussian(), by_probgen),
    "Vamp": Contender(vamp, by_probgen),
    "flow": Contender(lambda _: flow(), by_probgen),
    "LARS": Contender(lambda _: lars(), by_probgen),
    "two levels": Contender(lambda _: two_levels(), by_probgen),
    "pythae, VAE": Contender(lambda _: peers_vae(LogVariance), by_pythae),
    "pythae, VAMP": Contender(peers_vamp, by_pythae),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--budget", type=float, default=math.inf, help="seconds of the processor")
    given = parser.parse_args()
    torch.set_num_threads(1)
    grey = data.mnist().train[:50_000].clone()
    contender = CONTENDERS[given.name]
    with seeded(0):
        pair = contender.pair(grey)
    contender.train(pair, grey, Spent(given.weights, given.budget))


if __name__ == "__main__":
    main()
