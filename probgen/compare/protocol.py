"""The facts of the machine on which numbers were made."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections.abc import Mapping
from typing import Any

import torch

_PACKAGES = {
    "probgen": "probgen",
    "pyro": "pyro-ppl",
    "numpy": "numpy",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
}


def environment(device: torch.device) -> dict[str, Any]:
    """Return versions, platform, device and threads."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for name, package in _PACKAGES.items():
        try:
            versions[name] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "versions": versions,
    }


def plain(value: Any) -> Any:
    """Return what JSON can hold: numbers that are not finite, and whatever JSON does not know, as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
