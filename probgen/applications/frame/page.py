"""The report of an application: who wins, all numbers, differences, figures, tables, the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from probgen.applications.frame.paired import BETTER, WORSE, Gain, gains, target_of, verdicts
from probgen.compare.best import not_told_apart_from_the_best
from probgen.compare.columns import Column, over_repeats
from probgen.compare.html_page import cell, figure_of, page_of, table_of_facts, term
from probgen.compare.table import MARK, ideal, number, written

if TYPE_CHECKING:
    import pandas as pd

    from probgen.applications.frame.study import Study


def page(study: Study, frame: pd.DataFrame, record: Mapping[str, Any]) -> str:
    """Return the report of a study as a page of HTML."""
    measures = {
        name: column for name, column in study.application.measures.items() if name in set(frame["metric"])
    }
    found = {name: gains_of(study, frame, name, column) for name, column in measures.items()}
    said = [sentence for name, own in found.items() for sentence in verdicts(own, measures[name])]
    repeats = frame["repeat"].nunique()
    body = [
        "<h2>Who wins</h2>",
        *(f"<p>{escape(sentence)}</p>" for sentence in [*said, *study.said]),
        f"<h2>All numbers</h2>\n<p>{_how_to_read(study, repeats)}</p>",
        _table(study, frame, measures),
        *(
            f'<p class="doubt"><b>{MARK} {escape(name)}</b>: {escape(" ".join(sentences))}</p>'
            for name, sentences in study.findings.items()
        ),
        *_gains(found, measures),
        "<h2>Figures</h2>" if study.figures else "",
        *(
            figure_of(name, (study.folder / f"{name.replace(' ', '-')}.png").read_bytes(), caption)
            for name, caption in study.figures.items()
        ),
        *(_frame(name, own, caption) for name, (own, caption) in study.tables.items()),
        *_outputs(study),
        "<h2>The methods</h2>",
        *(
            f"<h3>{escape(name)}{' (baseline)' if name in study.baselines else ''}</h3><p>{escape(about)}</p>"
            for name, about in study.methods.items()
        ),
        "<h2>What each number means</h2>\n<dl>",
        *(term(column.label, name, column.about) for name, column in measures.items()),
        "</dl>\n<h2>Protocol</h2>",
        table_of_facts([(key, str(value)) for key, value in record.items()]),
    ]
    what = f"{escape(str(record['data']))}: {_sizes(study, repeats)} Takes {escape(study.application.data)}."
    return page_of(study.application.title, what, body)


def gains_of(study: Study, frame: pd.DataFrame, name: str, column: Column) -> list[Gain]:
    """Return what ours gain over the baselines at a measure, without those that were found wrong."""
    ours = [m for m in study.methods if m not in study.baselines and m not in study.findings]
    baselines = [m for m in study.methods if m in study.baselines and m != study.floor]
    return gains(frame, name, column, ours, baselines, floor=study.floor)


def _sizes(study: Study, repeats: int) -> str:
    small = (
        "" if study.size == "full" else f" This is a {study.size} run: its budgets are too small to judge by."
    )
    return f"{len(study.methods)} methods, {repeats} repeat{'s' if repeats > 1 else ''}.{small}"


def _how_to_read(study: Study, repeats: int) -> str:
    floor = (
        f" The column <b>{escape(study.floor)}</b> is the floor, real data judged as if they were drawn."
        if study.floor
        else ""
    )
    interval = (
        "Means over repeats with their 95 % t-intervals. Bold: not told apart from the best over the repeats."
        if repeats > 1
        else "One repeat, so no intervals."
    )
    return f"Grey columns are the baselines.{floor} {interval}"


def _table(study: Study, frame: pd.DataFrame, measures: Mapping[str, Column]) -> str:
    kinds = {
        name: "doubt" if name in study.findings else "base" if name in study.baselines else ""
        for name in study.methods
    }
    heads = "".join(
        f'<th scope="col" class="{kind}">{escape(name)}{f" {MARK}" if kind == "doubt" else ""}</th>'
        for name, kind in kinds.items()
    )
    rows = []
    for measure, column in measures.items():
        own = frame[frame["metric"] == measure]
        values = {name: own.loc[own["method"] == name, "value"].tolist() for name in study.methods}
        best = _best(study, column, values)
        cells = "".join(
            cell(
                written(measure, column, over_repeats(column, values[name])),
                f"{kind} best" if name in best else kind,
            )
            for name, kind in kinds.items()
        )
        head = f'<th scope="row">{escape(column.label)}</th><td class="ideal">{escape(ideal(column))}</td>'
        rows.append(f"<tr>{head}{cells}</tr>")
    return (
        '<div class="scroll"><table>\n<thead><tr><th></th><th scope="col" class="ideal">best value</th>'
        f"{heads}</tr></thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table></div>"
    )


def _best(study: Study, column: Column, values: Mapping[str, Sequence[float]]) -> set[str]:
    """Return the methods that are not told apart from the best, of those that were found sound."""
    target = target_of(column, values.get(study.floor or "", []))
    if target is None:
        return set()
    left_out = {*study.findings, study.floor}
    sound = {name: own for name, own in values.items() if own and name not in left_out}
    return not_told_apart_from_the_best(sound, target=target)


def _gains(found: Mapping[str, Sequence[Gain]], measures: Mapping[str, Column]) -> list[str]:
    """Write what ours gain over baselines, pair by pair."""
    rows = []
    for name, own in found.items():
        for gain in own:
            mean, low, high = gain.interval
            kind = {BETTER: "best", WORSE: "doubt"}.get(gain.verdict, "")
            rows.append(
                f'<tr><th scope="row">{escape(measures[name].label)}</th><td>{escape(gain.ours)}</td>'
                f"<td>{escape(gain.baseline)}</td>{cell(number(mean, (high - low) / 2), kind)}"
                f'<td>{gain.pairs}</td><td class="{kind}">{gain.verdict}</td></tr>'
            )
    if not rows:
        return []
    return [
        "<h2>Ours against the baselines</h2>",
        "<p>What a method of ours gains over a baseline, paired by repeat: above 0 ours is better, in units "
        "of the measure (where a measure has a best value, by how much nearer it comes). The intervals of a "
        "measure hold at 95 % all together; they cover what repeats vary, not other data.</p>",
        f"<details><summary>{len(rows)} pairs</summary>",
        '<div class="scroll"><table>\n<thead><tr><th>measure</th><th>ours</th><th>baseline</th><th>gain</th>'
        "<th>pairs</th><th>ours is</th></tr></thead>",
        f"<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table></div></details>",
    ]


def _frame(name: str, frame: pd.DataFrame, caption: str) -> str:
    html = frame.to_html(index=False, border=0, escape=True, float_format=lambda value: number(value))
    heading = name.replace("_", " ").replace("-", " ").capitalize()
    return (
        f'<h2>{escape(heading)}</h2>\n<p class="soft">{escape(caption)}</p>\n<div class="scroll">{html}</div>'
    )


def _outputs(study: Study) -> list[str]:
    if not study.outputs:
        return []
    rows = "".join(
        f'<li><a href="{escape(name)}">{escape(name)}</a>: {escape(about)}{_player(name)}</li>'
        for name, about in study.outputs.items()
    )
    return ["<h2>Files</h2>", f"<ul>{rows}</ul>"]


def _player(name: str) -> str:
    """Return what plays a sound in the page."""
    if not name.endswith(".wav"):
        return ""
    return f'<br><audio controls preload="none" src="{escape(name)}"></audio>'
