"""One self-contained HTML page that shows a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from probgen.compare.html_page import cell, figure_of, page_of, table_of_facts, term
from probgen.compare.metrics import COLUMNS
from probgen.compare.questions import Question, answers, best_answers, best_value
from probgen.compare.table import BEST_MEANS, MARK, cells, ideal

if TYPE_CHECKING:
    from probgen.compare.comparison import Comparison
    from probgen.plots import Page


def page(
    comparison: Comparison,
    images: Mapping[str, bytes],
    captions: Mapping[str, str],
    questions: Sequence[Question] = (),
    pages: Mapping[str, Page] = MappingProxyType({}),
) -> str:
    """Return the page: the table against the floor, the figures, the methods, the metrics and the protocol.

    Args:
        comparison: what is shown.
        images: name -> a PNG, put into the page itself.
        captions: name -> the text below the figure.
        questions: rows of a table that comes first, each with its sentence.
        pages: name -> a page to play with, in a frame of its own.
    """
    record = comparison.protocol
    title = str(record["facts"].get("title", "Generative models compared"))
    return page_of(
        title,
        _what(comparison),
        [
            *_questions(comparison, questions),
            f"<h2>{'All numbers' if questions else 'Results'}</h2>\n<p>{_how_to_read(comparison)}</p>",
            _table(comparison),
            *(
                f'<p class="doubt"><b>{MARK} {escape(name)}</b>: {escape(text)} Its numbers are not to be '
                "trusted, and it is not called the best anywhere.</p>"
                for name, text in comparison.findings().items()
            ),
            f'<p class="soft">{_table_notes(record["repeats"])}</p>',
            "<h2>Figures</h2>",
            *(figure_of(name, image, captions.get(name, "")) for name, image in images.items()),
            *(["<h2>To play with</h2>"] if pages else []),
            *(_frame(name, own) for name, own in pages.items()),
            "<h2>The methods</h2>",
            *(
                _method(name, about, record["notes"][name], comparison.findings().get(name))
                for name, about in record["methods"].items()
            ),
            "<h2>What each number means</h2>\n<dl>",
            *(term(COLUMNS[name].label, name, about) for name, about in record["metrics"].items()),
            "</dl>\n<h2>Protocol</h2>",
            _facts(record),
        ],
    )


def _what(comparison: Comparison) -> str:
    record = comparison.protocol
    count, repeats, held_out = len(record["methods"]), record["repeats"], record["reference_shape"]
    methods = "1 method" if count == 1 else f"{count} methods"
    times = "once" if repeats == 1 else f"{repeats} times, from different seeds"
    size = " × ".join(map(str, held_out[1:])) or "1"
    learned_from = f"{record['train_shape'][0]:,} training" if record["train_shape"] else "no training data,"
    learned = "Methods that learn were fitted anew each time. " if record["train_shape"] else ""
    return (
        f"{methods}, {learned_from} points of size {size}. Each was run {times}. {learned}"
        f"From every run {record['n']:,} points were drawn and judged against {held_out[0]:,} held-out "
        "points that no method saw."
    )


def _how_to_read(comparison: Comparison) -> str:
    floor = escape(comparison.baselines[-1])
    text = (
        f"Begin with the column <b>{floor}</b>, the floor: real data scored against other real data. A "
        "method that scores as the floor does is as good as that metric can see; what is worse than the "
        "floor is the method's own error."
    )
    if len(comparison.baselines) > 1:
        text += (
            " The <b>memoriser</b> only repeats training points. It does well wherever copying goes "
            "unpunished; its neighbour ratio and its authenticity of 0 give it away."
        )
    return text


def _table_notes(repeats: int) -> str:
    interval = (
        "Mean over repeats with its 95 % t-interval, on the logarithmic or logit scale where a number has "
        "bounds: it covers the randomness of fits and draws, not that of the held-out data, for which see "
        f"the standard errors (SE). None where all repeats agree. Bold: {BEST_MEANS}"
        if repeats > 1
        else "One repeat, so no interval over repeats, and nothing by which to tell methods apart; the "
        "standard errors (SE) are those of a single run."
    )
    return f"{interval} “–”: the method has no such number."


def _table(comparison: Comparison) -> str:
    written, baselines, doubted = cells(comparison.summary()), comparison.baselines, comparison.findings()
    methods = [name for name in written if name not in baselines]
    kinds = dict.fromkeys(reversed(baselines), "base") | {
        name: "doubt" if name in doubted else "" for name in methods
    }
    heads = "".join(
        f'<th scope="col" class="{kind}">{escape(name)}{f" {MARK}" if name in doubted else ""}</th>'
        for name, kind in kinds.items()
    )
    rows = []
    for metric in next(iter(written.values())):
        best = comparison.best(metric)
        values = "".join(
            cell(written[name][metric], f"{kind} best" if name in best else kind)
            for name, kind in kinds.items()
        )
        minor = ' class="minor"' if metric.endswith("_stderr") else ""
        rows.append(
            f'<tr{minor}><th scope="row">{escape(COLUMNS[metric].label)}</th>'
            f'<td class="ideal">{escape(ideal(COLUMNS[metric]))}</td>{values}</tr>'
        )
    body = "\n".join(rows)
    return (
        '<div class="scroll"><table>\n<thead><tr><th></th><th scope="col" class="ideal">best value</th>'
        f"{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _questions(comparison: Comparison, questions: Sequence[Question]) -> list[str]:
    """Write the answers to questions, and what each row means."""
    if not questions:
        return []
    found, doubted = answers(comparison, questions), comparison.findings()
    kinds = {
        name: "doubt" if name in doubted else "" for name in comparison.protocol["methods"]
    } | dict.fromkeys(comparison.baselines, "base")
    heads = "".join(
        f'<th scope="col" class="{kind}">{escape(name)}{f" {MARK}" if name in doubted else ""}</th>'
        for name, kind in kinds.items()
    )
    rows = []
    for question in questions:
        best = best_answers(comparison, question)
        own = "".join(
            cell(found[question.name][name], f"{kind} best" if name in best else kind)
            for name, kind in kinds.items()
        )
        rows.append(
            f'<tr><th scope="row">{escape(question.name)}</th>'
            f'<td class="ideal">{escape(best_value(question))}</td>{own}</tr>'
        )
    told = "\n".join(f"<dt>{escape(q.name)}</dt>\n<dd>{escape(q.about)}</dd>" for q in questions)
    body = "\n".join(rows)
    return [
        "<h2>Questions and answers</h2>",
        f"<p>{escape(_SPREAD.format(repeats=comparison.protocol['repeats']))}</p>",
        '<div class="scroll"><table class="answers">\n<thead><tr><th></th><th scope="col" class="ideal">best '
        f"value</th>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>",
        f"<dl>\n{told}\n</dl>",
    ]


_SPREAD = (
    "A row is a question, a column a method; a word in the place of a number says why there is none. Numbers "
    "are means over {repeats} runs from different seeds with their 95 % intervals, which the figure of the "
    "metrics shows run by run."
)


def _frame(name: str, own: Page) -> str:
    return (
        f"<figure>\n{own.frame()}\n"
        f"<figcaption>The same page alone is {escape(name)}.html, beside this one.</figcaption>\n</figure>"
    )


def _method(name: str, about: str, notes: Sequence[Mapping[str, str | float]], wrong: str | None) -> str:
    keys = list(dict.fromkeys(key for note in notes for key in note))
    rows = [(key, _over_repeats([note[key] for note in notes if key in note])) for key in keys]
    told = f"<p>{escape(about)}</p>\n" if about else ""
    if wrong:
        told += f'<p class="doubt">{MARK} {escape(wrong[0].upper() + wrong[1:])}</p>\n'
    return f"<h3>{escape(name)}</h3>\n{told}{table_of_facts(rows)}"


def _over_repeats(values: Sequence[str | float]) -> str:
    """Write a note's values over repeats: the range of numbers, the different texts."""
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) == len(values) and min(numbers) != max(numbers):
        return f"{min(numbers):.4g} to {max(numbers):.4g}"
    texts = [value if isinstance(value, str) else f"{value:.4g}" for value in values]
    return "; ".join(dict.fromkeys(texts))


def _facts(record: Mapping[str, Any]) -> str:
    facts = {key: value for key, value in record["facts"].items() if key != "title"}
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    own = {
        "draws per run": f"{record['n']:,}",
        "repeats": record["repeats"],
        "units": record["scale"],
        "seed": f"{record['seed']}; every fit's and draw's own seed is in protocol.json",
        "run": f"{record['started']}, {record['seconds']:.0f} s in all",
        "machine": f"{record['platform']}; {record['device']}, {record['threads']} threads",
        "numbers": record["dtype"],
        "versions": versions,
    }
    return table_of_facts([(key, str(value)) for key, value in {**facts, **own}.items()])
