"""The time of a step of a contest: ``python -m tests.benchmarks.contest_step``.

Every contender trains nets of the same sizes on the same batches with Adam: the usual loop, two losses and
two optimizers by turns, written by hand; and the step of ``fit``'s own loop, its batching and its bookkeeping
included. They take turns, a block of steps each, so that a machine that drifts slows all of them alike; the
time is that of the processor, and the ratio that of the medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus
from torch.nn.utils.parametrizations import spectral_norm

from probgen import data, models, nets
from probgen.capture.captured_loss import CapturedLoss
from probgen.data import source
from probgen.objectives import Contest
from probgen.training.run import Run
from tests.benchmarks.results import record

WIDTH, NOISE, BATCH, BLOCK = 128, 8, 256, 50

GAMES = {
    "cross-entropy": {"loss": "cross-entropy"},
    "hinge": {"loss": "hinge"},
    "wasserstein, slope": {"loss": "wasserstein", "slope": 0.1},
    "relativistic, R1 and R2": {"loss": "relativistic", "r1": 0.1, "r2": 0.1},
    "cross-entropy, packs of 4": {"loss": "cross-entropy", "pack": 4},
    "cross-entropy, spectral norm": {"loss": "cross-entropy"},
}

LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "cross-entropy": (
        lambda p, q: softplus(-p).mean() + softplus(q).mean(),
        lambda p, q: softplus(-q).mean(),
    ),
    "hinge": (lambda p, q: relu(1 - p).mean() + relu(1 + q).mean(), lambda p, q: -q.mean()),
    "wasserstein": (lambda p, q: q.mean() - p.mean(), lambda p, q: -q.mean()),
    "relativistic": (lambda p, q: softplus(q - p).mean(), lambda p, q: softplus(p - q).mean()),
}
"""The discriminator's and the generator's, of logits on real and fake data."""


def networks(name: str, pack: int) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    hidden = (WIDTH, WIDTH)
    discriminator = nets.MLP(2 * pack, 1, hidden=hidden)
    if "spectral" in name:
        for layer in [part for part in discriminator.modules() if isinstance(part, nn.Linear)]:
            spectral_norm(layer)
    return nets.MLP(NOISE, 2, hidden=hidden), discriminator


def by_hand(name: str, x: Tensor) -> Callable[[], object]:
    """The usual loop: the discriminator's step, and then, against the new one, the generator's."""
    options = GAMES[name]
    pack = options.get("pack", 1)
    generator, d = networks(name, pack)
    of_d, of_g = LOSSES[options["loss"]]
    r1, slope = options.get("r1", 0.0), options.get("slope", 0.0)
    adam_g, adam_d = (
        torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.0, 0.9), fused=True) for net in (generator, d)
    )
    stream = batches(x)

    def squared(points: Tensor, values: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(values.sum(), points, create_graph=True)
        return found.square().sum(1)

    def step() -> None:
        real = next(stream)
        fake = generator(torch.randn(BATCH, NOISE))
        real, packed = real.reshape(BATCH // pack, -1), fake.reshape(BATCH // pack, -1)
        held = packed.detach()
        if r1:
            real.requires_grad_()
            held.requires_grad_()
        adam_d.zero_grad(set_to_none=True)
        p, q = d(real), d(held)
        loss = of_d(p, q)
        if r1:
            loss = loss + 0.5 * r1 * (squared(real, p).mean() + squared(held, q).mean())
        if slope:
            share = torch.rand(len(real), 1)
            points = (share * real + (1 - share) * held).requires_grad_()
            loss = loss + slope * (squared(points, d(points)).sqrt() - 1).square().mean()
        loss.backward()
        adam_d.step()
        adam_g.zero_grad(set_to_none=True)
        of_g(d(real.detach()) if options["loss"] == "relativistic" else q, d(packed)).backward()
        adam_g.step()

    return step


def by_fit(name: str, x: Tensor, mode: str) -> Callable[[], object]:
    """One step of ``fit``'s own loop."""
    options = GAMES[name]
    generator, discriminator = networks(name, options.get("pack", 1))
    contest = Contest(models.GAN(generator, discriminator, noise=NOISE), **options)
    run = Run(contest, contest.adam(1e-3)(contest.parameters()), source(x), BATCH, {})
    loss_of = CapturedLoss(contest, mode, batch_size=BATCH)
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


def batches(x: Tensor):
    while True:
        for (rows,) in data.batches(x, BATCH):
            yield rows


def race(name: str, x: Tensor, rounds: int, modes: Sequence[str]) -> dict[str, float]:
    """Return each contender's median milliseconds of the processor per step."""
    makers = {"by hand": lambda: by_hand(name, x)} | {
        mode: (lambda mode=mode: by_fit(name, x, mode)) for mode in modes
    }
    steps = {contender: make() for contender, make in makers.items()}
    times: dict[str, list[float]] = {contender: [] for contender in steps}
    for turn in range(rounds + 2):
        for contender, step in steps.items():
            start = time.process_time()
            for _ in range(BLOCK):
                step()
            if turn > 1:  # the first blocks capture, compile, compare and warm up
                times[contender].append((time.process_time() - start) / BLOCK * 1e3)
    return {contender: statistics.median(values) for contender, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--modes", nargs="+", default=["eager", "graph", "compile"])
    given = parser.parse_args()
    rounds = given.rounds
    torch.set_num_threads(1)
    x = data.target("grid").sample(
        BATCH * 40, generator=torch.Generator().manual_seed(0), dtype=torch.float32
    )
    columns = " | ".join(f"`fit`, compile={mode!r}" for mode in given.modes)
    lines = [f"| game | by hand, by turns (ms) | {columns} |", "|---|---|" + "---|" * len(given.modes)]
    for name in GAMES:
        found = race(name, x, rounds, given.modes)
        hand = found.pop("by hand")
        lines.append(
            f"| {name} | {hand:.2f} | " + " | ".join(f"{ms / hand:.2f}" for ms in found.values()) + " |"
        )
        print(lines[-1], flush=True)
    record(
        "Contests: a step",
        f"{__doc__.partition(chr(10) * 2)[2].strip()} Both nets have two hidden layers of {WIDTH}, on points "
        f"of the plane, batch {BATCH}, one thread; {rounds} blocks of {BLOCK} steps each. `fit` moves both "
        "players at once, by one Adam. The loop by hand has fused Adam too. The columns of `fit` are ratios "
        "to the loop by hand; asked are .8 or less.",
        "\n".join(lines),
    )


if __name__ == "__main__":
    main()
