"""The tutorials run from the first cell to the last, and the numbers that their prose names are true.

They say what they found on one machine; the checks leave room for another one's rounding in training.
"""

import ast
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jupytext
import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

from probgen import data
from tests.tutorial_claims import CHECKS

TUTORIALS = sorted((Path(__file__).parents[1] / "tutorials").glob("[0-9]*.md"))


def run(cell: str, names: dict[str, Any], where: str) -> Any:
    """Execute a cell and return what a notebook would show: the value of a last expression, else None."""
    tree = ast.parse(cell, where)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, where, "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), where, "eval"), names)


def draw(shown: Any) -> None:
    """Render what the cell drew by pyplot and the figure that it returned, as a notebook does."""
    figures = [plt.figure(number) for number in plt.get_fignums()]
    for figure in [*figures, shown] if isinstance(shown, Figure) else figures:
        figure.savefig(io.BytesIO())
    plt.close("all")


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")  # plt.show()
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for load in (data.mnist, data.kidiq, data.chorales):
        if f"data.{load.__name__}()" in path.read_text():
            try:
                load()
            except ConnectionError as error:
                pytest.skip(str(error))
    monkeypatch.chdir(tmp_path)
    cells = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells, 1):
        try:
            shown = run(cell, names, f"{path.name}, cell {number}")
            draw(shown)
        except Exception as error:
            raise AssertionError(f"{path.name}, cell {number} failed with {error!r}:\n\n{cell}") from error
    CHECKS[path.stem](SimpleNamespace(**names))


def test_every_tutorial_is_found() -> None:
    assert [path.stem for path in TUTORIALS] == list(CHECKS)
