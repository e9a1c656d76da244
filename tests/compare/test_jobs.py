"""Methods at work at once, in processes of their own, come to what they would one after another."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from probgen.compare import Method, compare
from probgen.compare.jobs import at_once
from tests.compare.test_compare import DISTANCES, X, data, fit_normal, normal, run, values

__all__ = ["data"]  # the fixture

_LOCK = threading.Lock()


def unsendable(n: int, *, seed: int, lock: Any = _LOCK) -> Tensor:
    raise AssertionError("it is never called")


unsendable.__module__ = "__main__"  # so that it is sent by value, with its defaults


def test_methods_at_once_in_processes_give_the_numbers_of_one_after_another(
    data: tuple[Tensor, Tensor],
) -> None:
    methods = {"fitted": Method(fit_normal), "normal": normal(0.3)}
    one, two = (run(methods, data, [*DISTANCES, "c2st", "nll"], jobs=jobs) for jobs in (1, 2))
    assert one.frame.equals(two.frame)
    assert one.protocol["notes"] == two.protocol["notes"]
    assert all(two.draws[name].equal(one.draws[name]) for name in methods)
    again = two.fitted["fitted"]
    assert again.log_prob is not None
    assert again.log_prob(data[1]).mean().item() == pytest.approx(-values(one, "fitted", "nll")[0])
    with pytest.raises(RuntimeError, match="method 'broken' failed with ZeroDivisionError"):
        run({"broken": lambda n, *, seed: 1 / 0}, data, jobs=2)


def test_a_process_at_work_has_the_default_type_and_threads_of_this_one() -> None:
    before = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(3)
    try:
        asked = [(), ()]
        found = list(at_once(settings, asked, [{}, {}], jobs=2))
    finally:
        torch.set_default_dtype(before[0])
        torch.set_num_threads(before[1])
    assert found == [(torch.float64, 3)] * 2


def settings() -> tuple[torch.dtype, int]:
    return torch.get_default_dtype(), torch.get_num_threads()


FRESH = """
from probgen.compare.jobs import at_once
from tests.compare.test_jobs import recorded
if __name__ == "__main__":
    print([graph.code.count('aten.transpose') for graph in at_once(recorded, [(), ()], [{}, {}], jobs=2)])
"""


def recorded() -> Any:
    """Return a graph as chains hold one."""
    return make_fx(lambda x: x.transpose(0, 1) + 1)(torch.ones(2, 3))


def test_a_recorded_graph_comes_back_to_a_process_that_has_recorded_none(tmp_path: Path) -> None:
    script = tmp_path / "fresh.py"
    script.write_text(FRESH)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[1, 1]"


@pytest.mark.parametrize(
    ("jobs", "kind", "message"),
    [
        (0, ValueError, "jobs, where not -1 for as many as there are cores, should be at least 1 but got 0"),
        (1.5, TypeError, "jobs, where not -1 for as many as there are cores, should be an integer"),
    ],
)
def test_jobs_are_a_count_or_all_cores(jobs: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        compare({"normal": normal()}, X, ["energy"], progress=False, jobs=jobs)


def test_what_no_other_process_can_be_sent_is_refused_in_one_sentence() -> None:
    with pytest.raises(TypeError, match=r"jobs should be 1 .* cannot pickle") as caught:
        compare({"lock": unsendable}, X, ["energy"], progress=False, jobs=2)
    assert "\n" not in str(caught.value)
