"""The time of a training step: ``python -m tests.benchmarks.svi_step [--device cuda]``.

Every contender trains the same VAE (one hidden layer, Bernoulli pixels) on the same binarised MNIST batches
with Adam. They take turns, a block of steps each, so that a machine that drifts slows all of them alike.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import pyro
import pyro.distributions as dist
import pyro.infer
import pyro.optim
import torch
from torch import Tensor, nn

from probgen import SVI, data, fit, models, nets
from probgen.inference.capture import CapturedLoss
from probgen.inference.run import Run
from tests.benchmarks.results import append

SIZES = {"784-400-20, batch 128": (400, 20, 128), "784-64-10, batch 64": (64, 10, 64)}
BLOCK, ROUNDS = 50, 15
RATE = 1e-3


class HandWritten(nn.Module):
    """The same VAE as plain PyTorch."""

    def __init__(self, hidden: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 784))

    def forward(self, x: Tensor) -> Tensor:
        mean, log_scale = self.encoder(x).chunk(2, -1)
        z = mean + log_scale.exp() * torch.randn_like(mean)
        bce = nn.functional.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = 0.5 * (mean**2 + (2 * log_scale).exp() - 1 - 2 * log_scale).sum()
        return (bce + kl) / len(x)


class Story:
    """The same VAE as a Pyro user writes it, with its networks registered by ``pyro.module``."""

    def __init__(self, net: HandWritten) -> None:
        self.net = net

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self.net.decoder)
        zeros = x.new_zeros(len(x), self.net.decoder[0].in_features)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(zeros, torch.ones_like(zeros)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.net.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.net.encoder)
        with pyro.plate("data", len(x)):
            mean, log_scale = self.net.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(mean, log_scale.exp()).to_event(1))


class StoryModule(nn.Module):
    """The pair of callables that Pyro's ELBO module takes."""

    def __init__(self, story: Callable[[Tensor], None], net: nn.Module) -> None:
        super().__init__()
        self.story, self.net = story, net

    def forward(self, x: Tensor) -> None:
        self.story(x)


Step = Callable[[Tensor], object]


def stepper(loss_of: Callable[[Tensor], Tensor], parameters: list[nn.Parameter]) -> Step:
    optimizer = torch.optim.Adam(parameters, lr=RATE, fused=True)

    def step(x: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(x).backward()
        optimizer.step()

    return step


def pyro_svi(hidden: int, latent: int, device: str) -> Step:
    pyro.clear_param_store()
    story = Story(HandWritten(hidden, latent).to(device))
    adam = pyro.optim.Adam({"lr": RATE})
    return pyro.infer.SVI(story.model, story.guide, adam, pyro.infer.TraceMeanField_ELBO()).step


def pyro_module(hidden: int, latent: int, device: str) -> Step:
    net = HandWritten(hidden, latent).to(device)
    story = Story(net)
    elbo = pyro.infer.TraceMeanField_ELBO()(StoryModule(story.model, net), StoryModule(story.guide, net))
    return stepper(elbo, list(net.parameters()))


def probgen_vae(hidden: int, latent: int, device: str) -> models.VAE:
    net = partial(nets.MLP, hidden=[hidden], activation=nn.ReLU)
    return models.VAE(nets.NormalHead(net(784, latent)), nets.BernoulliHead(net(latent, 784))).to(device)


def probgen_step(hidden: int, latent: int, batch: int, x: Tensor, mode: str) -> Callable[[], object]:
    """One step of ``fit``'s own loop, its batching and its bookkeeping included."""
    objective = SVI(probgen_vae(hidden, latent, str(x.device)))
    adam = torch.optim.Adam(objective.parameters(), lr=RATE, fused=True)
    run, loss_of = Run(objective, adam, (x,), batch, {}), CapturedLoss(objective, mode)
    stream = run.batches(10**9)

    def step() -> None:
        run.take_step(loss_of, next(stream))
        if run.history.step % BLOCK == 0:
            run.report(None)

    return step


def batches_of(x: Tensor, batch: int) -> Iterator[Tensor]:
    while True:
        for (rows,) in data.batches(x, batch):
            yield rows


def race(size: tuple[int, int, int], x: Tensor) -> dict[str, float]:
    """Return each contender's median milliseconds per step."""
    hidden, latent, batch = size
    device = str(x.device)
    plain, compiled = (HandWritten(hidden, latent).to(device) for _ in range(2))
    on_batches: dict[str, Step] = {
        "hand-written, eager, fused Adam": stepper(plain, list(plain.parameters())),
        "hand-written, torch.compile": stepper(
            torch.compile(compiled, fullgraph=True), list(compiled.parameters())
        ),
        "Pyro SVI + pyro.optim.Adam": pyro_svi(hidden, latent, device),
        "Pyro ELBO module + one fused Adam": pyro_module(hidden, latent, device),
    }
    stream = batches_of(x, batch)

    def drawn(step: Step) -> Callable[[], object]:
        return lambda: step(next(stream))

    contenders = {name: drawn(step) for name, step in on_batches.items()}
    for mode in ("eager", "graph", "compile"):
        contenders[f"probgen, compile={mode!r}"] = probgen_step(hidden, latent, batch, x, mode)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(ROUNDS + 1):
        for name, step in contenders.items():
            start = now(x)
            for _ in range(BLOCK):
                step()
            if turn:  # the first block captures, compiles and warms up
                times[name].append((now(x) - start) / BLOCK * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def epochs(size: tuple[int, int, int], x: Tensor, count: int = 3) -> dict[str, float]:
    """Return seconds per epoch of each whole trainer, its set-up included, over ``count`` epochs."""
    hidden, latent, batch = size
    runs: dict[str, Callable[[], object]] = {
        f"probgen.fit, compile={mode!r}": partial(
            fit,
            SVI(probgen_vae(hidden, latent, str(x.device))),
            x,
            epochs=count,
            batch_size=batch,
            compile=mode,
            progress=False,
        )
        for mode in ("graph", "compile")
    }
    runs["pythae's trainer"] = pythae_trainer(hidden, latent, batch, x, count)
    seconds = {}
    for name, train in runs.items():
        start = now(x)
        train()
        seconds[name] = (now(x) - start) / count
    return seconds


def pythae_trainer(hidden: int, latent: int, batch: int, x: Tensor, count: int) -> Callable[[], object]:
    """Return pythae's own training loop on the same nets and data, without evaluation data or saving."""
    import tempfile

    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(784, hidden), nn.ReLU())
            self.mean, self.log_var = nn.Linear(hidden, latent), nn.Linear(hidden, latent)

        def forward(self, x: Tensor) -> ModelOutput:
            h = self.net(x)
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 784), nn.Sigmoid()
            )

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.net(z))

    config = VAEConfig(input_dim=(784,), latent_dim=latent, reconstruction_loss="bce")
    trainer = BaseTrainer(
        model=VAE(config, encoder=Encoder(), decoder=Decoder()),
        train_dataset=BaseDataset(x.cpu(), torch.ones(len(x))),
        training_config=BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(),
            num_epochs=count,
            per_device_train_batch_size=batch,
            learning_rate=RATE,
            no_cuda=x.device.type == "cpu",
        ),
    )
    return trainer.train


def now(x: Tensor) -> float:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter()


def table(times: dict[str, float], unit: str, base: str) -> str:
    rows = [f"| contender | {unit} | ratio to {base} |", "|---|---|---|"]
    rows += [f"| {name} | {value:.3f} | {value / times[base]:.2f} |" for name, value in times.items()]
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    x = data.binarise(data.mnist().train, generator=torch.Generator().manual_seed(0)).to(device)
    parts = []
    for name, size in SIZES.items():
        parts += [f"**{name}**, ms per step:", table(race(size, x), "ms", "hand-written, torch.compile")]
    for name, size in itertools.islice(SIZES.items(), 2):
        parts += [f"**{name}**, one MNIST epoch:", table(epochs(size, x), "s", "pythae's trainer")]
    protocol = (
        f"`python -m tests.benchmarks.svi_step`: median of {ROUNDS} blocks of {BLOCK} steps, the contenders "
        "in turn within each round, after one block that captures and compiles; batches are cut from data "
        "on the device in all of them. An epoch is a third of a training of three, set-up and compilation "
        "included."
    )
    append(f"SVI step on {device}", protocol, "\n\n".join(parts), packages=("pythae",))


if __name__ == "__main__":
    main()
