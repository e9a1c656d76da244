"""The time and memory of a training step: ``python -m tests.benchmarks.svi_step [--device cuda]``.

Every contender trains the same VAE (one hidden layer, Bernoulli pixels) on the same binarised MNIST batches
with Adam. They take turns, a block of steps each, so that a machine that drifts slows all of them alike.
Memory is what torch allocates, weights and optimizer included, in a training of its own for each.
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
from torch._inductor import config as inductor
from torch.profiler import ProfilerActivity, profile

from probgen import SVI, data, fit, models, nets
from probgen.capture.captured_loss import CapturedLoss
from probgen.data import source
from probgen.training.run import Run
from tests.benchmarks.results import record

SIZES = {"784-400-20, batch 128": (400, 20, 128), "784-64-10, batch 64": (64, 10, 64)}
BLOCK = 50
RATE = 1e-3
BASE = {"cpu": "hand-written, torch.compile", "cuda": "hand-written, one CUDA graph"}
"""The contender to which the others are compared, by device."""
WIDE = (4000, 20, 1024)
"""The size at which memory is measured: neither weights nor activations dwarf the other."""


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


def graphed_stepper(net: HandWritten, x: Tensor) -> Step:
    """Return a step recorded whole as one CUDA graph, its optimizer included; other sizes run eagerly."""
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True, capturable=True)

    def plain(x: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        net(x).backward()
        optimizer.step()

    mine, aside = x.clone(), torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            plain(mine)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        plain(mine)

    def step(x: Tensor) -> None:
        if x.shape == mine.shape:
            mine.copy_(x)
            graph.replay()
        else:
            plain(x)

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
    run = Run(objective, adam, source(x), batch, {})
    loss_of = CapturedLoss(objective, mode, batch_size=batch)
    stream = run.batches(10**9)

    def step() -> None:
        batch = next(stream)
        run.begin_step()
        run.backward(loss_of, batch)
        run.clip(batch)
        run.optimizer.step()
        run.end_step()
        if run.history.step % BLOCK == 0:
            run.report()

    return step


def batches_of(x: Tensor, batch: int) -> Iterator[Tensor]:
    while True:
        for (rows,) in data.batches(x, batch):
            yield rows


def contenders(size: tuple[int, int, int], x: Tensor) -> dict[str, Callable[[], Callable[[], object]]]:
    """Return by name what makes each contender's step, which takes a batch of its own."""
    hidden, latent, batch = size
    device = str(x.device)

    def hand_written(compiled: bool) -> Step:
        net = HandWritten(hidden, latent).to(device)
        return stepper(torch.compile(net, fullgraph=True) if compiled else net, list(net.parameters()))

    on_batches: dict[str, Callable[[], Step]] = {
        "hand-written, eager, fused Adam": partial(hand_written, False),
        "hand-written, torch.compile": partial(hand_written, True),
        "Pyro SVI + pyro.optim.Adam": partial(pyro_svi, hidden, latent, device),
        "Pyro ELBO module + one fused Adam": partial(pyro_module, hidden, latent, device),
    }
    if x.is_cuda:
        on_batches[BASE["cuda"]] = lambda: graphed_stepper(HandWritten(hidden, latent).to(device), x[:batch])

    def drawn(make: Callable[[], Step]) -> Callable[[], object]:
        step, stream = make(), batches_of(x, batch)
        return lambda: step(next(stream))

    made = {name: partial(drawn, make) for name, make in on_batches.items()}
    for mode in ("eager", "graph", "compile", *(["cudagraph"] if x.is_cuda else [])):
        made[f"probgen, compile={mode!r}"] = partial(probgen_step, hidden, latent, batch, x, mode)
    return made


def race(size: tuple[int, int, int], x: Tensor, rounds: int) -> dict[str, float]:
    """Return each contender's median milliseconds per step."""
    steps = {name: make() for name, make in contenders(size, x).items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            start = now(x)
            for _ in range(BLOCK):
                step()
            if turn:  # the first block captures, compiles and warms up
                times[name].append((now(x) - start) / BLOCK * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def peaks(x: Tensor, steps: int = 9) -> dict[str, float]:
    """Return each contender's peak of allocated memory in MiB, over steps that compare and others."""
    return {name: peak(make, x, steps) for name, make in contenders(WIDE, x[: 2 * WIDE[2]]).items()}


def peak(make: Callable[[], Callable[[], object]], x: Tensor, steps: int) -> float:
    if x.is_cuda:
        torch.cuda.reset_peak_memory_stats(x.device)
        before = torch.cuda.memory_allocated(x.device)
        step = make()
        for _ in range(steps):
            step()
        return (torch.cuda.max_memory_allocated(x.device) - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step = make()
        for _ in range(steps):
            step()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(itertools.accumulate(sizes)) / 2**20


def captures(x: Tensor) -> dict[str, float]:
    """Return the seconds of the first call of each size's loss as a graph: capture and comparison."""
    seconds = {}
    for name, (hidden, latent, batch) in SIZES.items():
        objective = SVI(probgen_vae(hidden, latent, str(x.device)))
        torch.optim.Adam(objective.parameters(), fused=True)  # which imports what torch.compile needs
        loss_of = CapturedLoss(objective, "graph")
        start = now(x)
        loss_of(x[:batch])
        seconds[name] = now(x) - start
    return seconds


def epochs(size: tuple[int, int, int], x: Tensor) -> tuple[dict[str, float], dict[str, float]]:
    """Return the seconds of each trainer's first epoch, set-up and compilation included, and of a later one.

    They are told apart by a training of one epoch and one of three.
    """
    hidden, latent, batch = size

    def probgens(mode: str, count: int) -> Callable[[], object]:
        objective = SVI(probgen_vae(hidden, latent, str(x.device)))
        return partial(fit, objective, x, epochs=count, batch_size=batch, compile=mode, progress=False)

    trainers: dict[str, Callable[[int], Callable[[], object]]] = {
        f"probgen.fit, compile={mode!r}": partial(probgens, mode)
        for mode in ("graph", "cudagraph" if x.is_cuda else "compile")
    }
    trainers["pythae's trainer"] = lambda count: pythae_trainer(hidden, latent, batch, x, count)
    first, later = {}, {}
    for name, make in trainers.items():
        seconds = []
        for count in (1, 3):
            torch.compiler.reset()
            train = make(count)
            start = now(x)
            train()
            seconds.append(now(x) - start)
        first[name], later[name] = seconds[0], (seconds[1] - seconds[0]) / 2
    return first, later


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
    parser.add_argument("--rounds", type=int, default=15, help="blocks of steps that are timed")
    parser.add_argument("--rows", type=int, default=60_000, help="MNIST images that are used")
    parser.add_argument("--dry", action="store_true", help="print the result and do not append it")
    options = parser.parse_args()
    inductor.force_disable_caches = True  # else only the first run on a machine would compile
    images = data.mnist().train[: options.rows]
    x = data.binarise(images, generator=torch.Generator().manual_seed(0)).to(options.device)
    base = BASE[x.device.type]
    seconds = captures(x)
    lines = ", ".join(f"{value:.2f} s ({name})" for name, value in seconds.items())
    parts = [f"First call of the loss with compile='graph', captured and compared with eager: {lines}."]
    for name, size in SIZES.items():
        parts += [f"**{name}**, ms per step:", table(race(size, x, options.rounds), "ms", base)]
    hidden, latent, batch = WIDE
    parts += [f"**784-{hidden}-{latent}, batch {batch}**, peak of allocated memory:"]
    parts += [table(peaks(x), "MiB", "hand-written, eager, fused Adam")]
    for name, size in SIZES.items():
        first, later = epochs(size, x)
        parts += [f"**{name}**, an epoch after the first:", table(later, "s", "pythae's trainer")]
        parts += [f"**{name}**, the first epoch, set-up included:", table(first, "s", "pythae's trainer")]
    protocol = (
        f"`python -m tests.benchmarks.svi_step --device {options.device} --rounds {options.rounds} --rows "
        f"{options.rows}`: median of the blocks of {BLOCK} steps, the contenders in turn within each round, "
        "after one block that captures, compiles and warms up; batches are cut from data on the device in "
        "all of them. Memory is the peak of torch's allocations over nine steps, in a training of its own. "
        "Epochs: whole trainers, the time of one epoch, and half of what three take longer than one."
    )
    body = "\n\n".join(parts)
    if options.dry:
        print(protocol, body, sep="\n\n")
    else:
        record(f"SVI step on {options.device}", protocol, body, packages=("pythae",))


if __name__ == "__main__":
    main()
