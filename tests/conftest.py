"""Options and fixtures shared by all tests: device, dtype, one thread per worker, fixed seeds."""

import os

import matplotlib
import pytest
import torch

matplotlib.use("Agg")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="torch device on which the tests run")
    parser.addoption("--dtype", default="float32", choices=["float32", "float64"], help="floating-point type")


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first, so that no process waits for another at the end."""
    items.sort(key=lambda item: item.path.name != "test_tutorials.py")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return getattr(torch, request.config.getoption("--dtype"))


@pytest.fixture
def generator(device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(20240901)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(20240901)
