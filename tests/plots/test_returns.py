"""Returns and risks drawn: marks at violations, gaps where there is no volatility, real on top."""

import math

import numpy as np
import pytest

from probgen import plots


def test_violations_are_counted_and_marked():
    returns, risk = np.array([0.5, -2.0, -1.0, -3.0]), np.array([1.0, 1.0, 1.0, 4.0])
    (axis,) = plots.value_at_risk(returns, {"GARCH": risk}, level="2.5 %").axes
    assert axis.get_title(loc="left") == "GARCH: 1 of 4 days below −VaR 2.5 %"
    line, marks = axis.lines
    assert line.get_ydata().tolist() == [-1, -1, -1, -4]
    assert marks.get_xydata().tolist() == [[1, -2]]


def test_smiles_are_in_percent_with_gaps():
    (axis,) = plots.volatility_smiles([0.9, 1.0], {"a": [math.nan, 0.2]}, errors={"a": [0.1, 0.1]}).axes
    values = axis.lines[0].get_ydata()
    assert math.isnan(values[0])
    assert values[1] == pytest.approx(20)


def test_the_real_line_lies_on_top():
    (axis,) = plots.lasting_volatility({"ACF": {"real": [0.3], "b": [0.1], "a": [0.2]}}, real="real").axes
    drawn = [line.get_ydata()[0] for line in axis.lines if len(line.get_ydata()) == 1]
    assert drawn[-1] == 0.3
    assert sorted(drawn[:2]) == [0.1, 0.2]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: plots.value_at_risk([1.0], {}), "at least 1 line"),
        (lambda: plots.value_at_risk([1.0], {"a": [1.0, 2.0]}), r"risks\['a'\] should have shape \(1,\)"),
        (lambda: plots.value_at_risk([math.nan], {"a": [1.0]}), "returns should be finite"),
        (lambda: plots.volatility_smiles([[1.0]], {"a": [1.0]}), r"strikes should have shape \(T,\)"),
        (
            lambda: plots.lasting_volatility({"ACF": {"a": [1.0]}}, real="real"),
            "should have values of 'real'",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()
