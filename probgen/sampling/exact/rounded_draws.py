"""Quantiles in float64 as draws of a narrower dtype."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from probgen.core.density.mapped import is_mapped
from probgen.sampling.exact.verification import first


def rounded(x: Tensor, dtype: torch.dtype, support: Constraint, *, validate: bool | None) -> Tensor:
    """Round to a dtype; what lies inside the support stays inside: a tiny x does not become 0."""
    near = x.to(dtype)
    if near.dtype == x.dtype:
        return near
    if validate and near.detach().isinf().any():
        beyond = near.isinf() & x.isfinite()
        if beyond.any():
            raise ValueError(
                f"quantiles should be finite in {near.dtype} but {first(x, beyond):.3g} is not; give "
                f"dtype=torch.float64"
            )
    if support is constraints.real:
        return near
    with torch.no_grad():
        ends = [getattr(support, f"{side}_bound", None) for side in ("lower", "upper")]
        low, high = (
            torch.as_tensor(open_end if end is None else end, dtype=x.dtype, device=x.device)
            for end, open_end in zip(ends, (-torch.inf, torch.inf), strict=True)
        )
        inside = (near > low.to(near.dtype)) & (near < high.to(near.dtype))
        if get_proxy_mode() is None and not is_mapped(inside) and inside.all():
            return near
        wide = near.to(x.dtype)
        below, above = (wide <= low) & (x > low), (wide >= high) & (x < high) & wide.isfinite()
        inside = torch.nextafter(near, torch.where(below, torch.inf, -torch.inf).to(near.dtype))
    return torch.where(below | above, inside, near)
