"""Chains of other programs: what was written comes back, and what is broken gets a sentence."""

import numpy as np
import pandas as pd
import pytest
import torch

from probgen.core import Density
from probgen.sampling import Chains, sample

STAN = """# stan_version_major = 2
# model = eight_schools_model
# method = sample (Default)
#   sample
#     num_samples = 3
#     num_warmup = 2
#     save_warmup = {saved}
#     thin = 1 (Default)
lp__,accept_stat__,stepsize__,treedepth__,n_leapfrog__,divergent__,energy__,mu,x.1.1,x.2.1,x.1.2,x.2.2
{warmup}# Adaptation terminated
# Step size = 0.5
# Diagonal elements of inverse mass matrix:
# 1.0, 2.0
-1.5,0.9,0.5,2,3,0,2.5,{mu}0.5,11,21,12,22
-1.25,0.8,0.5,2,3,1,2.25,{mu}0.25,11.5,21.5,12.5,22.5
-1.0,0.7,0.5,2,3,0,2.0,{mu}1.5,11.25,21.25,12.25,22.25
#
#  Elapsed Time: 0.01 seconds (Warm-up)
"""


def stan_file(path, mu="", saved="0"):
    rows = "-9,0.1,0.5,2,3,0,2.5,9,9,9,9,9\n" * 2 if saved != "0" else ""
    path.write_text(STAN.format(mu=mu, saved=saved, warmup=rows))
    return path


@pytest.fixture(scope="module")
def own():
    density = Density(lambda v: -(v["a"] ** 2) / 2 - (v["b"] ** 2).sum(-1) / 2,
        support={"a": torch.distributions.constraints.real, "b": torch.distributions.constraints.real_vector},
        event_shape={"a": (), "b": (3,)})  # fmt: skip
    return sample(density, chains=4, warmup=100, draws=200, seed=1, progress=False)


def test_arviz_and_back(own):
    again = Chains.from_arviz(own.to_arviz())
    assert again.names == own.names
    for name in own.names:
        assert torch.equal(again[name], own[name])
    for name in ("log_prob", "acceptance"):
        assert torch.equal(again.statistics[name], own.statistics[name])
    pd.testing.assert_frame_equal(again.summary(), own.summary())
    assert again.diagnose() == own.diagnose()
    assert repr(again) == repr(own)
    whole = Chains.from_arviz(own.to_arviz()["posterior"])  # a Dataset
    assert torch.equal(whole["b"], own["b"])


def test_arrays():
    draws = {"a": np.arange(24.0).reshape(2, 12), "b": torch.zeros(2, 12, 3)}
    chains = Chains.from_arrays(draws)
    assert chains["a"].dtype == torch.float64
    assert repr(chains) == "Chains(2 chains x 12 draws; a: (), b: (3,))"
    assert Chains.from_arrays(np.zeros((2, 5)), name="w").names == ("w",)
    assert chains.to_arviz()["posterior"]["b"].shape == (2, 12, 3)


def test_what_is_wrong_with_chains_of_another_program():
    noise = np.random.default_rng(0).normal(size=(4, 500))
    assert Chains.from_arrays(noise).diagnose() == []
    apart = Chains.from_arrays(noise + 3 * np.arange(4)[:, None]).diagnose()
    assert "R-hat is above 1.01" in apart[0]
    stuck = noise.copy()
    stuck[2] = 1.0
    assert "1 of 4 chains never moved" in Chains.from_arrays(stuck).diagnose()[0]
    divergent = Chains.from_arrays(noise, statistics={"divergent": noise > 2.5})
    assert "trajectories diverged" in divergent.diagnose()[0]


def test_files_of_stan(tmp_path):
    files = [stan_file(tmp_path / f"chain_{i}.csv", mu) for i, mu in enumerate(("1", "2"), 1)]
    chains = Chains.from_csv(files)
    assert chains.names == ("mu", "x")
    assert chains["mu"].tolist() == [[10.5, 10.25, 11.5], [20.5, 20.25, 21.5]]
    assert chains["x"].shape == (2, 3, 2, 2)
    assert chains["x"][0, 0].tolist() == [[11, 12], [21, 22]]  # Stan counts columns first
    assert chains.statistics["log_prob"].tolist() == [[-1.5, -1.25, -1.0]] * 2
    assert chains.statistics["divergent"].tolist() == [[0, 1, 0]] * 2
    assert chains.statistics["energy"][0, 0] == 2.5


def test_saved_warm_up_is_left_out(tmp_path):
    assert Chains.from_csv(stan_file(tmp_path / "a.csv", saved="1"))["mu"].tolist() == [[0.5, 0.25, 1.5]]
    assert Chains.from_csv(str(stan_file(tmp_path / "b.csv", saved="true")))["mu"].shape == (1, 3)


def test_wide_tables(tmp_path):
    frame = pd.DataFrame(
        {".chain": [1, 1, 2, 2], ".iteration": [2, 1, 1, 2], ".draw": [2, 1, 3, 4], "m": [2.0, 1, 3, 4],
         "v[1]": [20.0, 10, 30, 40], "v[2]": [21.0, 11, 31, 41]}
    )  # fmt: skip
    frame.to_csv(tmp_path / "wide.csv", index=False)
    chains = Chains.from_csv(tmp_path / "wide.csv")
    assert chains.names == ("m", "v")
    assert chains["m"].tolist() == [[1, 2], [3, 4]]
    assert chains["v"][0].tolist() == [[10, 11], [20, 21]]
    (tmp_path / "plain.csv").write_text("m,v[0]\n1,2\n3,4\n")
    assert Chains.from_csv(tmp_path / "plain.csv")["v"].tolist() == [[[2], [4]]]


def test_long_tables(tmp_path, own):
    rows = [
        {"chain": c, "draw": d, "variable": name, "value": float(value)}
        for c in range(4)
        for d in range(5)
        for name, value in [("a", own["a"][c, d]), *((f"b[{i}]", own["b"][c, d, i]) for i in range(3))]
    ]
    pd.DataFrame(rows).sample(frac=1, random_state=0).to_csv(tmp_path / "long.csv", index=False)
    chains = Chains.from_csv(tmp_path / "long.csv")
    torch.testing.assert_close(chains["b"].float(), own["b"][:, :5])
    torch.testing.assert_close(chains["a"].float(), own["a"][:, :5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("a,b\n", "no row"),
        ("a,b\n1,x\n", "column 'b' of .* should hold numbers but holds 'x'"),
        ("chain,a\n1,1\n1,2\n2,3\n", "the shortest has 1, the longest 2"),
        ("v[1],v[3]\n1,2\n", r"'v' should have 3 elements"),
        ("lp__\n1\n", "a column of draws"),
        ("variable,value\na,1\n", "a column 'draw'"),
        ("a,b\n1,2,3,4\n5,6\n7,8,9,10,11\n", "cannot be read"),
    ],
)
def test_broken_files_are_refused(tmp_path, text, message):
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Chains.from_csv(path)


@pytest.mark.parametrize(
    ("draws", "error", "message"),
    [
        ({}, ValueError, "at least one site"),
        (np.zeros(5), ValueError, r"write draws\[None\]"),
        ({"a": np.zeros((2, 5)), "b": np.zeros((2, 4))}, ValueError, r"'a' has \(2, 5\) and 'b' \(2, 4\)"),
        ({"a": [["x", "y"]]}, TypeError, "array of numbers"),
    ],
)
def test_arrays_of_no_chains_are_refused(draws, error, message):
    with pytest.raises(error, match=message):
        Chains.from_arrays(draws)
    with pytest.raises(ValueError, match="a group 'posterior'"):
        Chains.from_arviz({"a": 1})
