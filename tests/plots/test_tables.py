"""Pictures of tables: each column's law, and rank correlations."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import StepPatch

from probgen import plots
from tests.plots.test_plots import people, titles


def test_columns_show_the_shares_of_each_bin_and_level() -> None:
    real = people(50)
    made = real.assign(town="A", age=real.age + 1000.0)
    figure = plots.table_columns({"real": real, "made": made})
    assert titles(figure) == ["age", "income", "debt", "town"]
    age, *_, town = figure.axes
    first, second = (patch for patch in age.patches if isinstance(patch, StepPatch))
    assert first.get_data().values.sum() == pytest.approx(48 / 50)  # without the outermost thousandths
    assert second.get_data().values.sum() == 0  # all outside of the frame of the reference
    assert [bar.get_height() for bar in town.patches] == [0.5, 0.5, 1.0, 0.0]


def test_columns_beyond_sixteen_are_thinned_evenly_and_said() -> None:
    wide = pd.DataFrame({f"x{i}": np.linspace(0, 1, 30) for i in range(31)})
    figure = plots.table_columns({"real": wide})
    assert titles(figure) == [f"x{i}" for i in range(0, 31, 2)]
    assert figure._suptitle is not None  # type: ignore[attr-defined]
    assert figure._suptitle.get_text() == "16 of 31 columns"  # type: ignore[attr-defined]


def test_correlations_are_those_of_ranks() -> None:
    real = people(50)
    made = real.assign(debt=real.age**3)
    figure = plots.correlations({"real": real, "made": made})
    first, second = (np.asarray(axis.images[0].get_array()) for axis in figure.axes[:2])
    assert titles(figure)[:2] == ["real", "made"]
    np.testing.assert_allclose(first[0, :3], [1, 1, -1])
    np.testing.assert_allclose(second[0, :3], [1, 1, 1])
    assert abs(first[0, 3]) < 0.1


def test_tables_of_other_columns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tables\['made'\] should have rows of the columns \['age'"):
        plots.table_columns({"real": people(5), "made": people(5)[["age"]]})
    with pytest.raises(ValueError, match="tables should have at least 1 entry but has 0"):
        plots.correlations({})
