"""The time of a training step of sequences: ``python -m tests.benchmarks.sequence_step``.

Every contender trains the same networks, made from the same seed, on the same padded batch with fused Adam:
a plain loop of torch written by hand, which scores all steps in one call and draws them in a loop; `fit`'s
own loop, eager, captured and compiled; and for the deep Markov model a Pyro model and guide with a site a
step, as Pyro's example has them, with its checks of values, which are its default, and without. They take
turns; the time is that of the processor, and the ratio that of the medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from probgen import SVI, nets
from probgen.capture.captured_loss import CapturedLoss
from probgen.data import Ragged, source
from probgen.models import VRNN, DeepMarkov
from probgen.training.run import Run
from tests.benchmarks.results import record

ROWS, STEPS, NOTES, LATENT, WIDTH = 20, 32, 88, 32, 100


def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    lengths = torch.randint(STEPS // 2, STEPS + 1, (ROWS,))
    lengths[0] = STEPS
    x = (torch.rand(ROWS, STEPS, NOTES) < 0.05).float()
    return x * nets.inside(lengths, STEPS).unsqueeze(-1), lengths


def dmm() -> DeepMarkov:
    torch.manual_seed(1)
    return DeepMarkov(
        nets.GatedTransition(LATENT, hidden=WIDTH),
        nets.BernoulliHead(nets.MLP(LATENT, NOTES, hidden=WIDTH)),
        reader=nets.GRU(NOTES, WIDTH, backward=True),
        guide_step=nets.NormalHead(nets.Joined(nets.MLP(LATENT + WIDTH, LATENT, hidden=WIDTH))),
        latent=LATENT,
    )


def vrnn() -> VRNN:
    torch.manual_seed(1)
    return VRNN(
        nets.History(nets.GRU(NOTES, WIDTH), dropout=0.5),
        prior=nets.NormalHead(nets.MLP(WIDTH, LATENT, hidden=WIDTH)),
        encoder=nets.NormalHead(nets.Joined(nets.MLP(NOTES + WIDTH, LATENT, hidden=WIDTH))),
        decoder=nets.BernoulliHead(nets.Joined(nets.MLP(LATENT + WIDTH, NOTES, hidden=WIDTH))),
    )


def normal(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale of a network's numbers, as the heads make them."""
    mean, s = numbers.chunk(2, -1)
    return mean, (5 * torch.asinh(s / 5)).exp()


def kl(m: Tensor, s: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return ((scale / s).log() + (s**2 + (m - mean) ** 2) / (2 * scale**2) - 0.5).sum(-1)


def moved(pair: DeepMarkov, z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale of the gated transition, written out."""
    t = pair.transition
    gate, proposal = t.gate(z).sigmoid(), t.proposal(z)
    s = t.scale(proposal.tanh())
    return (1 - gate) * t.linear(z) + gate * proposal, (5 * torch.asinh(s / 5)).exp()


def loss_of_dmm(pair: DeepMarkov, x: Tensor, lengths: Tensor) -> Tensor:
    inside = nets.inside(lengths, STEPS)
    read, z, states, own = pair.reader(x, inside), pair.guide_start.expand(len(x), -1), [], []
    for t in range(STEPS):
        m, s = normal(pair.guide_step.net(z, read[:, t]))
        z = torch.where(inside[:, t, None], m + s * torch.randn_like(m), 0.0)
        states.append(z)
        own.append((m, s))
    path = torch.stack(states, 1)
    before = torch.cat([pair.start.expand(len(x), 1, -1), path[:, :-1]], 1)
    divergence = kl(*(torch.stack(part, 1) for part in zip(*own, strict=True)), *moved(pair, before))
    cross = binary_cross_entropy_with_logits(pair.emission.net(path), x, reduction="none").sum(-1)
    return ((divergence + cross) * inside).sum() / len(x)


def loss_of_vrnn(pair: VRNN, x: Tensor, lengths: Tensor) -> Tensor:
    inside = nets.inside(lengths, STEPS)
    h = pair.history(x, inside)
    m, s = normal(pair.encoder.net(x, h))
    z = m + s * torch.randn_like(m)
    cross = binary_cross_entropy_with_logits(pair.decoder.net(z, h), x, reduction="none").sum(-1)
    return ((kl(m, s, *normal(pair.prior.net(h))) + cross) * inside).sum() / len(x)


def by_hand(pair: DeepMarkov | VRNN) -> Callable[[], None]:
    x, lengths = data()
    loss_of = loss_of_dmm if isinstance(pair, DeepMarkov) else loss_of_vrnn
    optimizer = torch.optim.Adam(pair.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(pair, x, lengths).backward()
        optimizer.step()

    return step


def by_pyro(pair: DeepMarkov, *, checked: bool) -> Callable[[], None]:
    """A site a step in model and guide, masked, and Trace_ELBO: after the text of Pyro's tutorial."""
    x, lengths = data()
    inside = nets.inside(lengths, STEPS)

    def model() -> None:
        z = pair.start.expand(ROWS, -1)
        with pyro.plate("data", ROWS):
            for t in pyro.markov(range(STEPS)):
                z = pyro.sample(f"z_{t}", dist.Normal(*moved(pair, z)).mask(inside[:, t, None]).to_event(1))
                logits = pair.emission.net(z)
                law = dist.Bernoulli(logits=logits).mask(inside[:, t, None]).to_event(1)
                pyro.sample(f"x_{t}", law, obs=x[:, t])

    def guide() -> None:
        read, z = pair.reader(x, inside), pair.guide_start.expand(ROWS, -1)
        with pyro.plate("data", ROWS):
            for t in pyro.markov(range(STEPS)):
                m, s = normal(pair.guide_step.net(z, read[:, t]))
                z = pyro.sample(f"z_{t}", dist.Normal(m, s).mask(inside[:, t, None]).to_event(1))

    optimizer = torch.optim.Adam(pair.parameters(), lr=1e-3, fused=True)
    bound = pyro.infer.Trace_ELBO()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with pyro.validation_enabled(checked):
            (bound.differentiable_loss(model, guide) / ROWS).backward()
        optimizer.step()

    return step


def by_fit(pair: DeepMarkov | VRNN, mode: str) -> Callable[[], None]:
    """One step of ``fit``'s own loop."""
    x, lengths = data()
    rows = Ragged([row[:length] for row, length in zip(x, lengths.tolist(), strict=True)], multiple=STEPS)
    objective = SVI(pair)
    adam = torch.optim.Adam(pair.parameters(), lr=1e-3, fused=True)
    run = Run(objective, adam, source(rows), ROWS, {})
    loss_of = CapturedLoss(objective, mode, batch_size=ROWS)
    stream = run.batches(10**9)

    def step() -> None:
        batch = next(stream)
        run.begin_step()
        run.backward(loss_of, batch)
        run.clip(batch)
        run.optimizer.step()
        run.end_step()

    return step


def agreement() -> None:
    """Raise unless the loss by hand is the library's: means over many draws within five standard errors."""
    for pair, hand in ((dmm().eval(), loss_of_dmm), (vrnn().eval(), loss_of_vrnn)):
        with torch.no_grad():
            found = torch.stack(
                [torch.stack([hand(pair, *data()), SVI(pair)(*data())[0]]) for _ in range(20)]
            )
        difference = found.diff(dim=1)
        assert abs(float(difference.mean())) < 5 * float(difference.std()) / 20**0.5 + 1e-3, found.mean(0)


def race(
    makers: dict[str, Callable[[], Callable[[], None]]], *, rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return each contender's median milliseconds of the processor a step, and the seconds of its first."""
    steps = {name: make() for name, make in makers.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    first = {}
    for turn in range(rounds + 2):
        for name, step in steps.items():
            start, clock = time.process_time(), time.perf_counter()
            step()
            if turn > 1:  # the first ones capture, compile and compare
                times[name].append((time.process_time() - start) * 1e3)
            first.setdefault(name, time.perf_counter() - clock)
    return {name: statistics.median(values) for name, values in times.items()}, first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    pyro.enable_validation(False)
    torch.distributions.Distribution.set_default_validate_args(False)
    agreement()
    head = (
        "| pair | by hand (ms) | `fit`, eager | captured | compiled | compiling (s) | Pyro, checked | "
        "Pyro, unchecked |"
    )
    lines = [head, "|---" * 8 + "|"]
    for name, make in (("VRNN", vrnn), ("DMM", dmm)):
        makers: dict[str, Callable[[], Callable[[], None]]] = {
            "hand": lambda make=make: by_hand(make()),
            "eager": lambda make=make: by_fit(make(), "eager"),
            "graph": lambda make=make: by_fit(make(), "graph"),
            "compile": lambda make=make: by_fit(make(), "compile"),
        }
        if name == "DMM":
            makers["checked"] = lambda: by_pyro(dmm(), checked=True)
            makers["unchecked"] = lambda: by_pyro(dmm(), checked=False)
        found, first = race(makers, rounds=rounds)
        hand = found.pop("hand")
        columns = ("eager", "graph", "compile", "checked", "unchecked")
        cells = [f"{found[key] / hand:.2f}" if key in found else "–" for key in columns]
        cells.insert(3, f"{first['compile']:.0f}")
        lines.append(f"| {name} | {hand:.1f} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    record(
        "Sequences: a step",
        f"{__doc__.partition(chr(10) * 2)[2].strip()} {ROWS} sequences of {STEPS // 2} to {STEPS} steps of "
        f"{NOTES} notes, states of {LATENT}, networks of {WIDTH}, one thread of a core that others used too; "
        f"{rounds} steps each, after two. That by hand and the library's have one loss is checked first. The "
        "columns are ratios to the loop by hand, 'compiling' the seconds by the clock of the first compiled "
        "step; asked are 1.3 or less of `fit`, and of Pyro five times what `fit` takes. By itself `fit` "
        "compiles trainings of 50,000 steps and more; the DMM's compilation is won back after some 28,000.",
        "\n".join(lines),
    )


if __name__ == "__main__":
    main()
