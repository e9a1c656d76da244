"""Why a model cannot be run for all chains at once, in the words of its author: a line, and a cure."""

from __future__ import annotations

import importlib.util
import traceback
from pathlib import Path

from probgen.core.density import mapped

_ASKED = ("item()", "_local_scalar_dense", "data-dependent control flow")
"""What ``torch.vmap`` says where Python asks for the value of a number of which there are many."""

_PACKAGES = ("torch", "pyro", "probgen", "functorch")
_STANDARD = Path(traceback.__file__).parent
_VALIDATES = "a law looks at its values: give it validate_args=False, or log_prob= where it takes one"


def line_and_cure(error: BaseException) -> str:
    """Return the line of the user's own where an error under ``torch.vmap`` arose, and what helps."""
    frames = traceback.extract_tb(error.__traceback__)
    elsewhere = [_STANDARD, *_roots()]
    own = [i for i, frame in enumerate(frames) if not any(_is_in(frame.filename, root) for root in elsewhere)]
    asked = any(words in f"{error} {error.__cause__}" for words in _ASKED)
    first_line = next(iter(str(error).splitlines()), "")
    if not own:
        site = f"at site {_scored(error)!r}, {_VALIDATES}"
        return site if asked else f"{type(error).__name__}: {first_line}"
    last = frames[own[-1]]
    place = f"at {Path(last.filename).name}:{last.lineno}, `{last.line}`"
    if not asked:
        return f"{place}, {type(error).__name__}: {first_line}"
    if all(Path(frame.filename) == Path(mapped.__file__) for frame in frames[own[-1] + 1 :]):
        return f"{place}, Python asks for the value of a tensor: write `if` as torch.where, leave out .item()"
    return f"{place}, {_VALIDATES}"


def _scored(error: BaseException) -> str | None:
    """Return the name of the site that Pyro was scoring, after the run of the model."""
    names = [
        frame.f_locals.get("name")
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_name in ("log_prob_sum", "compute_log_prob")
    ]
    return names[-1] if names else None


def _is_in(filename: str, root: Path) -> bool:
    return Path(filename).is_relative_to(root) and "site-packages" not in filename.removeprefix(str(root))


def _roots() -> list[Path]:
    found = [importlib.util.find_spec(name) for name in _PACKAGES]
    return [Path(spec.origin).parent for spec in found if spec is not None and spec.origin is not None]
