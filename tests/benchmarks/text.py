"""Shakespeare in bits per character: counting, a recurrent network, their mixture; and line by line.

The network's two trainings have run folders, are resumed from there and not repeated once they have ended.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from probgen import data, fit, load, nets, priors
from probgen.core import seeded
from probgen.models import LanguageModel, NGram
from probgen.objectives import MaximumLikelihood
from probgen.training import schedules
from tests.benchmarks.results import cpu_seconds, record

WINDOW, STRIDE, BATCH, WIDTH, DROPOUT, LEFT_OUT = 128, 37, 32, 512, 0.25, 50_000
"""Characters of a window and between the starts of two, the network, and how many characters are held out."""

PROTOCOL = (
    "`python -m tests.benchmarks.text --steps {} --more {}`: `data.text()`, nine plays, the first 90 % of "
    "the characters to learn from, the last 10 % test, read as one stream: each character given all before "
    "it. Kneser-Ney with D = 0.9. The network: one layer of 512 gated recurrent units, windows of 128 "
    "characters, dropout 0.25, Adam, 3e-3 falling to 2e-5 by a cosine, batches of 32, bfloat16 products; its "
    "weights and the mixture's share (of steps of 0.05) chosen on the last 50,000 training characters, which "
    "it had not seen; with `--more` it then goes on over all training characters, 1e-3 falling to 2e-5, and "
    "else it has never seen these. The test part goes on with the play in which those 50,000 characters end, "
    "so that to have learned from them is worth much: what models make of the test that have not stands "
    "beside. Lines: `data.verse_lines()`, two whole plays "
    "are test; counting starts anew at each line, whose END is a character. One seed; one thread of a core "
    "that others used too; CPU seconds are those of training."
)
HEAD = "| text | model | bits per character | without the last 50,000 | CPU s |\n" + "|---" * 5 + "|"


def bits(log_p: Tensor) -> float:
    return -float(log_p.double().mean()) / math.log(2)


def counted(text: data.Text, train: Tensor, x: Tensor, order: int) -> tuple[Tensor, float]:
    """Return log p of each character of x, which comes after all of the text before, and the CPU seconds."""
    start = cpu_seconds()
    model = NGram(text.vocabulary.size, order=order, steps=1, ends=False).learn(train[None])
    seconds = cpu_seconds() - start
    whole = torch.cat([text.train, text.test])
    first = len(text.train) if x is text.test else len(train)
    stretch = whole[first - order + 1 : first + len(x)]
    return model.token_log_probs(stretch[None])[0, order - 1 :], seconds


def learned(
    model: LanguageModel, stream: Tensor, folder: Path, *, rate: float, steps: int, **others
) -> float:
    """Train on windows of a stream, or go on, and return the CPU seconds in all."""
    file, start = folder.with_suffix(".json"), cpu_seconds()
    before = json.loads(file.read_text()) if file.exists() else 0.0
    objective = MaximumLikelihood(model)
    history = fit(
        objective, stream.unfold(0, WINDOW, STRIDE).contiguous(), steps=steps,
        batch_size=BATCH, schedules={"lr": schedules.cosine(rate, 2e-5, steps=steps)},
        max_gradient_norm=100.0, compile="eager", fabric=Fabric(accelerator="cpu", precision="bf16-mixed"),
        checkpoint=folder, resume=True, seed=0, progress=False, **others,
    )  # fmt: skip
    if not (file.exists() and history.step == steps and cpu_seconds() - start < 5):
        before += cpu_seconds() - start
        file.write_text(json.dumps(before))
    if history.ended != "finished":
        raise SystemExit(f"{history.ended} at step {history.step} after {before:.0f} CPU s: run it again")
    if "validation" not in others:  # nothing but noise tells which weights are best: the last ones
        load(folder, objective, name="last")
    return before


def of_the_stream(text: data.Text, runs: Path, *, steps: int, more: int) -> Iterator[str]:
    """Give the rows of the stream one by one."""
    train, held_out = text.train[:-LEFT_OUT], text.train[-LEFT_OUT:]
    found = {}
    for order in (5, 6, 7):
        found[order], seconds = counted(text, text.train, text.test, order)
        fewer, _ = counted(text, train, text.test, order)
        told = f"{bits(found[order]):.3f} | {bits(fewer):.3f}"
        yield f"| stream | Kneser-Ney, order {order} | {told} | {seconds:.0f} |"
    with seeded(0):
        net = nets.TokenGRU(text.vocabulary.size, WINDOW, width=WIDTH, dropout=DROPOUT)
        model = LanguageModel(priors.Autoregressive(net))
    rows = held_out[: len(held_out) // WINDOW * WINDOW].reshape(-1, WINDOW)
    seconds = learned(model, train, runs / f"gru-{steps}", rate=3e-3, steps=steps, validation=rows)
    of_held_out, before = (model.stream_log_prob(x).double() for x in (held_out, text.test))
    of_counts, _ = counted(text, train, held_out, 7)
    _, share = max(
        (float(mixed(of_held_out, of_counts, s).mean()), s) for s in (i / 20 for i in range(1, 20))
    )
    if more:
        seconds += learned(model, text.train, runs / f"gru-{steps}-{more}", rate=1e-3, steps=more)
    after = model.stream_log_prob(text.test).double()
    yield f"| stream | recurrent network | {bits(after):.3f} | {bits(before):.3f} | {seconds:.0f} |"
    both = bits(mixed(after, found[7], share))
    fewer, _ = counted(text, train, text.test, 7)
    yield (
        f"| stream | mixture, {share:.2f} of the network, the rest of order 7 | {both:.3f} | "
        f"{bits(mixed(before, fewer, share)):.3f} | |"
    )


def mixed(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Return the log-probabilities of a mixture of two laws of the next character."""
    return torch.logaddexp(one + math.log(share), other + math.log(1 - share))


def of_lines() -> Iterator[str]:
    """Give the rows of lines, each by itself."""
    lines = data.verse_lines()
    for order in (4, 5, 6, 7):
        start = cpu_seconds()
        model = NGram(lines.vocabulary.size, order=order, steps=1).learn(lines.train)
        seconds = cpu_seconds() - start
        found = -float(model.log_prob(lines.test).sum() / model.steps_of(lines.test).sum()) / math.log(2)
        yield f"| lines | Kneser-Ney, order {order} | {found:.3f} | | {seconds:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/text"), help="where trainings are kept")
    parser.add_argument("--steps", type=int, default=1200, help="of the first training")
    parser.add_argument("--more", type=int, default=400, help="of that on all characters; 0 for none")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.runs.mkdir(parents=True, exist_ok=True)
    rows = [HEAD, *of_lines(), *of_the_stream(data.text(), given.runs, steps=given.steps, more=given.more)]
    record("Shakespeare", PROTOCOL.format(given.steps, given.more), "\n".join(rows))


if __name__ == "__main__":
    main()
