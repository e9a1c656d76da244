"""The README's program runs as it stands, and its commands are those that CI runs."""

import re
from pathlib import Path

from probgen.compare.metrics import COLUMNS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def run(number, **shorter):
    """Run a program of the README, with other numbers where they are given, and return its names."""
    program = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[number]
    for name, value in shorter.items():
        program, found = re.subn(rf"\b{name}=\d+", f"{name}={value}", program)
        assert found == 1, name
    names: dict = {}
    exec(compile(program, "README.md", "exec"), names)
    return names


def test_the_first_program_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run(0, epochs=10)  # enough for the gap to move, and for chains that are well
    assert names["chains"]["z"].shape == (64, 400, 4, 2)
    assert float(names["vae"].prior.gap.detach()) != 2.0
    out = capsys.readouterr().out
    assert "Estimate(value=-" in out
    assert "train against test" in out


def cells(table):
    """Return the numbers of a table's rows, without names, by the words in the head."""
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    return {word: [row[i] for row in rows] for i, word in enumerate(head)}


def test_the_table_of_digits_is_that_of_the_benchmark_to_the_digit():
    results = (Path(__file__).parent / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    (measured,) = re.findall(r"## compare digits\n.*?\n(\| method.*?)\n\n", results, flags=re.DOTALL)
    (shown,) = re.findall(r"<!-- digits -->\n\n(.*?)\n\n", README, flags=re.DOTALL)
    measured, shown = cells(measured), cells(shown)
    names = {column.label: name for name, column in COLUMNS.items()}
    assert len(shown) == 6
    for label, values in shown.items():
        if label:
            assert values == measured[names[label]], label


def test_the_two_commands_set_everything_up():
    for marker, end in (("compare", "probgen compare"), ("tests", "pytest")):
        (command,) = re.findall(rf"<!-- {marker} -->\n```sh\n(.*)\n```", README)
        assert command.startswith("python3 -m venv ")
        assert command.endswith(end)


def test_the_pages_that_are_linked_exist():
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (root / target).exists(), target


def test_it_is_short():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert len(prose.split()) <= 900
