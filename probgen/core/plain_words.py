"""What Pyro and torch say of common slips, said in one sentence with the way out."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.distributions import constraints

_PLATE = re.compile(r"Shape mismatch inside plate\('(.*)'\) at site (\S+) dim (-\d+), (\d+) vs (\d+)")
_PARAMETER = re.compile(r"Expected parameter (\w+) \(.*of shape (\(.*?\))\) of distribution (\w+)\(")
_TORCH_LAW = re.compile(r"'(\w+)' object is not callable")
_RULE = re.compile(r"to satisfy the constraint (.*?), but found invalid values", re.S)
_FAR = 1e3
"""Standard deviations that are so many times more or less than 1 are told, where a loss is not finite."""

_LAWS = {
    constraints.simplex: "Dirichlet",
    constraints.unit_interval: "Beta, or a normal law through a sigmoid",
    constraints.positive: "LogNormal or Gamma",
    constraints.nonnegative: "LogNormal or Gamma",
}


def in_plain_words(error: BaseException) -> Exception | None:
    """Return what an error of Pyro's or torch's means in one sentence, or None where it is another one."""
    message = str(error)
    if found := _PLATE.search(message):
        plate, site, dim, rows, size = found.groups()
        return ValueError(
            f"site {site!r} should have a law for each of the {rows} rows of plate {plate!r} but has {size} "
            f"at dimension {dim}: where these are the numbers of one datum, end its law with .to_event(1)"
        )
    if (found := _PARAMETER.search(message)) and (rule := _RULE.search(message)):
        name, shape, law = found.groups()
        odd = re.search(r"\b(nan|inf)\b", message[rule.end() :])
        number = f", with {odd[1]}" if odd else ""
        return ValueError(
            f"parameter {name!r} of {law}, of shape {shape}, should be in {rule[1]} but is not{number}: "
            f"where the data are far from unit scale, standardise them"
        )
    if (found := _TORCH_LAW.fullmatch(message)) and hasattr(torch.distributions, found[1]):
        return not_of_pyro("a site", found[1])
    return None


def not_of_pyro(site: str, law: str) -> TypeError:
    """Return what is said of a law that Pyro cannot draw from."""
    return TypeError(
        f"{site} should have a law of pyro.distributions but has the {law} of torch.distributions"
    )


@contextlib.contextmanager
def plain_words() -> Iterator[None]:
    """Raise errors of Pyro's and torch's in plain words within."""
    try:
        yield
    except (ValueError, TypeError) as error:
        said = in_plain_words(error)
        if said is None:
            raise
        raise said from error


def laws_on(support: constraints.Constraint) -> str:
    """Return the names of laws on a support, for advice; nothing where none comes to mind."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    bounds = vars(support)
    for known, names in _LAWS.items():
        if type(known) is type(support) and vars(known) == bounds:
            return names
    return ""


def far_from_unit_scale(x: Tensor) -> str:
    """Say which columns of data, (n, *event), have standard deviations far from 1, and what to do."""
    if not x.is_floating_point() or len(x) < 2 or x.dim() < 2:
        return ""
    spread = x.detach().double().flatten(1).std(0)
    far = (spread > _FAR) | ((spread < 1 / _FAR) & (spread > 0))
    if not far.any():
        return ""
    column = int(far.nonzero()[0])
    return (
        f"; column {column} of the data has a standard deviation of {float(spread[column]):.3g}: standardise "
        f"them, (x - x.mean(0)) / x.std(0)"
    )
