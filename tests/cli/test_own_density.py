"""The command line on a density in a Python file of the user's own."""

import json
from pathlib import Path

import pytest
import torch
from torch.distributions import constraints

from probgen.cli import own_density
from probgen.compare import thinned_chains
from probgen.core import Density
from tests.cli.test_app import probgen, refused

__all__ = ["probgen"]  # the fixture

GAMMA = "support = 'positive'\ndef log_density(x):\n    return 2 * x.log() - x\n"
PLANE = "dim = 2\ndef log_density(x):\n    return -0.5 * (x ** 2).sum(-1)\n"
CPU = torch.device("cpu")
QUICK = ("--repeats", 1, "--n", 100, "--metrics", "energy,ksd_p,cost")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own_density, "REFERENCE", 200)
    monkeypatch.setattr(thinned_chains, "CHAINS", 32)
    monkeypatch.setattr(thinned_chains, "WARM_UP", 200)
    monkeypatch.setattr(thinned_chains, "DRAWS", 150)


def test_a_density_on_a_line_is_drawn_by_all_that_suits_it(probgen) -> None:
    Path("my.py").write_text(GAMMA)
    status, out, err = probgen("compare", "my.py:log_density", *QUICK)
    assert status == 0, err
    for method in ("inverse", "rejection", "hmc", "random_walk"):
        assert method in out
    folder = Path("results/my")
    names = {path.name for path in folder.iterdir()}
    assert names >= {"draws.png", "report.html", "metrics.csv", "samplers.html"}
    protocol = json.loads((folder / "protocol.json").read_text())
    assert "exact draws by inversion" in protocol["facts"]["draws to compare with"]
    html = (folder / "report.html").read_text()
    assert "Hamiltonian Monte Carlo, the length of its trajectories tuned" in html
    assert "effective draws a gradient" in html
    for part in ("inverse", "rejection", "walk"):
        assert f'"{part}":{{"' in (folder / "samplers.html").read_text()


def test_methods_at_once_know_the_users_own_function(probgen) -> None:
    Path("my.py").write_text(GAMMA)
    options = ("--methods", "inverse,rejection", "--repeats", 1, "--n", 100, "--metrics", "energy")
    tables = []
    for jobs in (1, 2):
        status, _, err = probgen("compare", "my.py", *options, "--jobs", jobs, "--out", f"by-{jobs}")
        assert status == 0, err
        tables.append(Path(f"by-{jobs}/metrics.csv").read_text())
    assert tables[0] == tables[1]


def test_a_density_in_the_plane_and_its_options(probgen) -> None:
    Path("plane.py").write_text(PLANE.removeprefix("dim = 2\n"))
    outcome = probgen("compare", "plane.py", "--dim", 2, "--methods", "random_walk", *QUICK, "--out", "here")
    assert outcome[0] == 0, outcome[2]
    assert Path("here/draws.png").exists()
    assert '"walk":{"' in Path("here/samplers.html").read_text()
    assert "a run of hmc of its own" in json.loads(Path("here/protocol.json").read_text())["facts"][
        "draws to compare with"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shape", "support"),
    [
        (GAMMA, (), constraints.positive),
        ("import torch\nsupport = torch.distributions.constraints.unit_interval\n"
         "def log_density(x):\n    return 0 * x\n", (), constraints.unit_interval),
        ("dim, support = 3, 'simplex'\ndef log_density(x):\n    return x.log().sum(-1)\n", (3,),
         constraints.simplex),
    ],
)  # fmt: skip
def test_what_a_file_says_of_its_density(text: str, shape: tuple[int, ...], support: object) -> None:
    Path("my.py").write_text(text)
    found = own_density.load("my.py", dim=None, support=None, device=CPU)
    assert isinstance(found, Density)
    assert found.shapes["x"] == shape
    assert found.support is support
    assert found.dtype == torch.float64


def test_vectors_of_positive_numbers_models_laws_and_neighbours() -> None:
    Path("my.py").write_text("dim, support = 2, 'positive'\ndef log_density(x):\n    return -x.sum(-1)\n")
    found = own_density.load("my.py", dim=None, support=None, device=CPU)
    assert found.constrain(torch.zeros(5, 2).double())["x"].tolist() == [[1.0, 1.0]] * 5
    Path("beside.py").write_text("rate = 2.0\n")
    Path("other.py").write_text(
        "import beside, pyro, pyro.distributions as dist\n"
        "law = dist.Exponential(beside.rate)\n"
        "def model():\n    pyro.sample('a', dist.Normal(0., 1.))\n    pyro.sample('b', dist.Normal(0., 1.))\n"
    )
    law = own_density.load("other.py:law", dim=None, support=None, device=CPU)
    assert float(law.mean) == 0.5
    assert own_density.load("other.py:model", dim=None, support=None, device=CPU).names == ("a", "b")


def test_a_function_that_takes_no_doubles_is_drawn_from_in_floats() -> None:
    Path("my.py").write_text(
        "import torch\ndim = 2\na = torch.eye(2)\ndef log_density(x):\n    return -(x @ a * x).sum(-1)\n"
    )
    assert own_density.load("my.py", dim=None, support=None, device=CPU).dtype == torch.float32


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        (GAMMA, "no.py:log_density", "there is no file 'no.py' to run"),
        (GAMMA, "my.py:log_densty", "should have a 'log_densty' at its top level but has not: did you mean "
         "log_density?"),
        ("a = 1\n1 / 0\n", "my.py", "my.py fails at line 2: ZeroDivisionError"),
        ("def log_density(x:\n", "my.py", "my.py fails at line 1: SyntaxError"),
        ("def log_density(x):\n    return -x\n", "my.py", "needs dim = ... or support = ... in the file"),
        ("dim = 2\ndef log_density(x):\n    return -x[0] ** 2\n", "my.py", "log_prob should return shape"),
        ("dim = 2\ndef log_density(x):\n    return y\n", "my.py", "my.py fails at line 3: NameError"),
        (GAMMA.replace("positive", "odd"), "my.py", "should be one of real, positive"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_sentence(probgen, text: str, name: str, sentence: str) -> None:
    Path("my.py").write_text(text)
    assert sentence in refused(probgen("compare", name))
    assert not Path("results").exists()


def test_methods_and_options_that_do_not_suit(probgen) -> None:
    Path("my.py").write_text(PLANE)
    assert "one number" in refused(probgen("compare", "my.py", "--methods", "inverse"))
    assert "--dim and --support belong to a log-density" in refused(probgen("compare", "ring", "--dim", 2))
