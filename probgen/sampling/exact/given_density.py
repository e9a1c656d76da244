"""A law on the line given by its log-density alone, maybe unnormalised."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from probgen.core.density.mapped import copies, is_mapped, needs_gradient
from probgen.sampling.exact import verification
from probgen.sampling.exact.batch_columns import Columns
from probgen.sampling.exact.implicit_derivatives import implicit
from probgen.sampling.exact.inversion import density_moments, overlooked_mass, u_error
from probgen.sampling.exact.inversion.numerical_inversion import (
    Masses,
    Mesh,
    Table,
    masses,
    meshed,
    of_laws,
    quantile,
    split,
    tabulated,
    tails,
)
from probgen.sampling.exact.inversion.quadrature_panels import TAIL
from probgen.sampling.exact.inversion.target import Target, poles_beside
from probgen.sampling.exact.tables.quantile_table import (
    Quantile,
    QuantileTable,
    Resolution,
    drawn,
    quantiles,
    table_for,
)

_PROMISE = 1e-10
_SEARCHES, _SPLITS, _MOST_PANELS = 4, 12, 2**15
_BLOCK = 2**14  # quantiles found at a time
_TOGETHER = 2**15  # values of log_prob: what a mixture of many makes of them fits the memory
_OVERFLOW = 1e12
_TRUSTED = 1e-6  # a law with a larger relative error of its normaliser is NaN where validation is off


class GivenDensity:
    """Normaliser, CDF and quantiles by quadrature on panels, with gradients; see ``inversion``.

    Panels are found at first need, and again when the density has changed since: it may be learned. Inside,
    values are columns (n, batch); the public methods take any shape that ends with the law's own, of which
    singleton dimensions may have been expanded.
    """

    name = "log_prob"
    unreached = "the log_prob given is nan there"

    def __init__(
        self,
        log_prob: Callable[[Tensor], Tensor],
        support: Constraint,
        points: Tensor | Sequence[float],
        batch_shape: Sequence[int],
        dtype: torch.dtype | None,
        device: torch.device | str | None,
        *,
        validate: bool,
    ) -> None:
        bounds = [getattr(support, name, None) for name in ("lower_bound", "upper_bound")]
        if needs_gradient(*(bound for bound in bounds if isinstance(bound, Tensor))):
            raise ValueError("the ends of the support of a log_prob alone should need no gradient: rescale x")
        low, high = verification.bounds(support)
        inside = verification.somewhere(low, high).to(device=device)
        inside = inside.expand(torch.broadcast_shapes(tuple(batch_shape), inside.shape))
        inside = inside.to(dtype or torch.get_default_dtype())
        probe = verification.returned("log_prob", log_prob(inside))
        self.shape, self.device = torch.broadcast_shapes(tuple(batch_shape), probe.shape), probe.device
        self.dtype = probe.dtype if dtype is None else dtype
        self.given, self._support, self._validate = log_prob, support, validate
        self._columns = Columns(self.shape)
        self._graph: object = None
        self._mesh: Mesh | None = None
        self._values: Tensor
        self._table: Table | None = None
        self._tables: dict[Resolution, QuantileTable] = {}
        self._errors: u_error.Errors | None = None
        self.narrowest = torch.full((self.shape.numel(),), torch.nan, dtype=torch.float64, device=self.device)
        self.narrowest_beyond = torch.nan
        low, high = (end.to(self.device).expand(self.shape).reshape(-1) for end in (low, high))
        has_low, has_high = (bound is not None for bound in bounds)
        ends = [end for end, is_there in ((low, has_low), (high, has_high)) if is_there]
        self.points = torch.as_tensor(points, dtype=torch.float64, device=self.device)
        named = self._rows(self.points)
        if len(named) and not is_mapped(named, low, high) and not ((named > low) & (named < high)).all():
            place = verification.first(named, ~((named > low) & (named < high)))
            raise ValueError(f"points should lie inside the support but got {place}")
        poles = torch.cat([*(torch.where(end.isfinite(), end, torch.nan)[None] for end in ends), named])
        poles = poles.sort(0).values
        can_ask = validate and not len(named) and low.numel() > 0 and not is_mapped(low, high)
        self._inner = (float(low.max()), float(high.min())) if can_ask else None  # inside all supports
        self._has_ends = has_low or has_high or len(named) > 0
        somewhere = verification.somewhere(low, high)
        beside = torch.where(low.isfinite(), low + 0.41 * (somewhere - low), somewhere - 0.41)
        somewhere = torch.where((named == somewhere).any(0), beside, somewhere)  # a place of no pole
        looseness = 1.0 if self._evaluated(somewhere.expand(3, -1)).dtype == torch.float64 else 1e6
        many = copies(probe)
        self._target = Target(
            self._height, low, high, poles, poles, poles[:0], somewhere, not validate, looseness, many
        )

    def quantile(self, u: Tensor) -> Tensor:
        """Return F⁻¹(u), with gradients."""
        return self.quantile_from(torch.where(u <= 0.5, u, 1 - u), u <= 0.5)

    def upper_quantile(self, s: Tensor) -> Tensor:
        """Return the x with 1 − F(x) = s, with gradients."""
        return self.quantile_from(torch.where(s < 0.5, s, 1 - s), s >= 0.5)

    def quantile_from(self, tail: Tensor, lower: Tensor) -> Tensor:
        """Return x with F(x) = tail where lower, else 1 − F(x) = tail; NaN for tails below 2⁻¹⁰⁰, but 0."""
        mesh, found = self._found()
        tail, restore = self._columns.of(tail)
        lower, _ = self._columns.of(lower)
        with torch.no_grad():
            solve, table = self._inverse(mesh, found, len(tail))
            z = torch.where(lower, tail, -tail)
            x = solve(z) if table is None else quantiles(table, z, solve)
            x = torch.where(self._log_total(mesh, found).isnan(), torch.nan, x)
            x = torch.where(tail < TAIL, torch.nan, x)
            x = torch.where(tail == 0, torch.where(lower, self._target.low, self._target.high), x)
        if torch.is_grad_enabled() and needs_gradient(found.values, tail):
            known = x.isfinite()
            inside = torch.where(known, x, self._target.somewhere)
            below, above = tails(tabulated(mesh, found), inside)
            excess = torch.where(lower, tail - below, above - tail)
            x = torch.where(known, implicit(inside, excess, self._density(inside, mesh, found)), x)
        return restore(x)

    @torch.no_grad()
    def drawn(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor | None:
        """Return draws by table look-up, None where there are too few for a table to pay."""
        n = shape.numel() // max(self._columns.count, 1)
        mesh, found = self._found()
        solve, table = self._inverse(mesh, found, n)
        if table is None or self._log_total(mesh, found).isnan().any():
            return None
        ends = (mesh.first, mesh.last) if self._has_ends else None
        return self._columns.into(shape)(drawn(table, n, solve, generator, ends))

    def cdf(self, x: Tensor) -> Tensor:
        """Return F(x), with gradients."""
        below, above = self.tails(x)
        return torch.where(below <= above, below, 1 - above)

    def tails(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return F(x) and 1 − F(x), each to its own relative precision down to 2⁻¹⁰⁰, with gradients."""
        mesh, found = self._found()
        columns, restore = self._columns.of(x)
        attached = torch.is_grad_enabled() and needs_gradient(found.values, x)
        table = tabulated(mesh, found) if attached else self._tabulated(mesh, found)
        below, above = tails(table, columns.detach().maximum(self._target.low).minimum(self._target.high))
        known = ~self._log_total(mesh, found).isnan()
        below, above = (torch.where(known, level, torch.nan) for level in (below, above))
        if attached:
            step = self._density(columns, mesh, found) * (columns - columns.detach())
            below, above = below + step, above - step
        return restore(below), restore(above)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the normalised log-density, with gradients to x and to parameters; −inf outside."""
        if not self._has_ends:
            return self.given(x) - self.log_normaliser()
        inside = self._support.check(x)
        somewhere = self._target.somewhere.reshape(self.shape)
        height = self.given(torch.where(inside, x, somewhere)) - self.log_normaliser()
        return torch.where(inside, height, -torch.inf)

    def log_normaliser(self) -> Tensor:
        """Return log ∫ exp(log_prob), of the law's own shape; NaN where it could not be found."""
        return self._log_total(*self._found()).reshape(self.shape)

    def expectation(self, name: str) -> Tensor:
        """Return mean, variance or entropy of the laws, with gradients; NaN where there is none."""
        mesh, found = self._found()
        return getattr(density_moments, name)(self._target, mesh, found).reshape(self.shape)

    @torch.no_grad()
    def verify(self) -> None:
        """Find the law, and raise unless it is known as well as is promised."""
        self._found()

    def nodes(self) -> Tensor:
        """Return places, as columns, between which the densities are known; some may repeat."""
        return self._found()[0].x

    def errors(self) -> u_error.Errors:
        """Return what an independent quadrature says of the law; NaN where validation is off.

        Then nothing was looked at again, and a quadrature of the panels alone would not see what they miss.
        """
        mesh, found = self._found()
        if not self._validate:
            return u_error.Errors(*[torch.nan] * len(u_error.Errors._fields))
        again = u_error.integrated_again(self._target, mesh, found)
        table = self._tabulated(mesh, found)
        return self._errors or u_error.measured(self._target, mesh, found, again, table)

    def _found(self) -> tuple[Mesh, Masses]:
        """Return the panels, and the masses as they are now, with gradients."""
        graph = get_proxy_mode()
        if self._mesh is not None and self._graph is graph:
            found = masses(self._height, self._mesh)
            if graph is not None or is_mapped(found.values) or torch.equal(found.values, self._values):
                return self._mesh, found
        self._graph, self._table, self._tables, self._errors = graph, None, {}, None
        if self._validate:
            mesh, found = self._checked()
        else:
            mesh = meshed(self._target)
        if not self._validate or torch.is_grad_enabled():
            found = masses(self._height, mesh)
        self._mesh, self._values = mesh, found.values.detach()
        return mesh, found

    @torch.no_grad()
    def _tabulated(self, mesh: Mesh, found: Masses) -> Table:
        if self._table is None:
            self._table = tabulated(mesh, found)
        return self._table

    def _inverse(self, mesh: Mesh, found: Masses, n: int) -> tuple[Quantile, QuantileTable | None]:
        """Return the quantile function on columns, and a table of it if that pays for n quantiles."""
        table = self._tabulated(mesh, found)

        def solve(z: Tensor) -> Tensor:
            """Find a block at a time, of as few laws as can be: their part of the table fits the cache."""
            if z.numel() <= _BLOCK:
                return quantile(table, z)
            laws = max(1, _BLOCK // len(z))
            columns = []
            for first in range(0, z.shape[1], laws):
                some = z[:, first : first + laws]
                theirs = of_laws(table, first, first + some.shape[1])
                columns.append(torch.cat([quantile(theirs, part) for part in some.split(_BLOCK // laws)]))
            return torch.cat(columns, 1)

        if self._graph is not None:
            return solve, None
        return solve, table_for(n, self._columns.count, solve, self.device, self._tables)

    def _log_total(self, mesh: Mesh, found: Masses) -> Tensor:
        trusted = (found.error.detach() < _TRUSTED * self._target.looseness) & ~mesh.endless
        return torch.where(trusted, mesh.peak + found.total.log(), torch.nan)

    def _density(self, x: Tensor, mesh: Mesh, found: Masses) -> Tensor:
        return (self._height(x) - self._log_total(mesh, found)).detach().exp()

    @torch.no_grad()
    def _checked(self) -> tuple[Mesh, Masses]:
        """Find the panels and what they overlooked; raise unless an independent quadrature confirms them."""
        target = self._target = self._target.without_smooth_poles(self._evaluated)
        for searches in range(_SEARCHES + 1):
            # Integrate on panels, then look where mass may have been passed over; what is found is a hint for
            # the next search.
            mesh = meshed(target)
            found = masses(self._height, mesh)
            overlooked_mass.check_mass(target, mesh, found, self._evaluated)
            table = tabulated(mesh, found)
            places, self.narrowest, self.narrowest_beyond = overlooked_mass.unseen_hills(
                target, mesh, found, table
            )
            if not len(places):
                missed = overlooked_mass.overlooked(target, mesh, found)
                if missed is None:
                    break
                places = missed[None]
            if searches == _SEARCHES:
                place = verification.first(places, ~places.isnan())
                raise ValueError(
                    f"log_prob has a feature too narrow to integrate at x = {place}; "
                    f"{target.way_out('see points=')}"
                )
            target = target._replace(hints=torch.cat([target.hints, places]))
        # A second rule on other points; panels on which the two disagree are cut.
        again = u_error.integrated_again(target, mesh, found)
        most = max(_MOST_PANELS, 4 * len(mesh.panels))
        for _ in range(_SPLITS):
            finer = split(target, mesh, found.panels, again.panels)
            if (
                finer is None or len(finer.panels) > most
            ):  # such disagreement is noise, that no cut takes away
                break
            mesh, found = finer, masses(self._height, finer)
            table = tabulated(mesh, found)
            again = u_error.integrated_again(target, mesh, found)
        self._table = table
        # The promise is held against the errors in u and in the constant as they were measured.
        self._errors = u_error.measured(target, mesh, found, again, table)
        promise, errors = _PROMISE * self._target.looseness, self._errors
        if not (errors.u <= promise and errors.normaliser <= promise):
            beside = mesh.panels.take(mesh.pieces)
            # A pole away from 0, beside which x itself has no digits, is another fault than a missed kink.
            rounds = (found.power.mass > promise * found.total) & (beside.origin != 0)
            way_out = "where it has a pole, a kink or a spike, name the place by points="
            if rounds.any():
                place = verification.first(beside.origin, rounds)
                way_out += (
                    f"; if the formula rounds beside the pole at {place}, shift or reflect the line so that "
                    f"it stands at 0"
                )
            raise ValueError(
                f"log_prob should be integrable to {promise:.0e} but its CDF is off by {errors.u:.1e} at "
                f"x = {errors.worst_x:.6g} (u = {errors.worst_u:.3g}) and its integral by "
                f"{errors.normaliser:.1e}; {target.way_out(way_out)}"
            )
        return mesh, found

    def _height(self, x: Tensor) -> Tensor:
        """Return log_prob at columns x (n, batch), in float64; −inf outside and where it overflows."""
        target = self._target
        may_ask = self._validate and get_proxy_mode() is None
        outside = self._outside(x, may_ask) if self._has_ends else None
        if outside is not None:
            x = torch.where(outside, target.somewhere, x)
        height = self._evaluated(x).to(torch.float64)
        checked = may_ask and not is_mapped(height)
        if not (checked and _below_inf(height)):
            height = torch.where(height.isnan() & (x.abs() > _OVERFLOW), -torch.inf, height)
            height = self._off_poles(x, height) if checked and len(target.poles) else height
            if checked and not _below_inf(height):
                wrong = ~(height < torch.inf)
                raise ValueError(
                    f"log_prob should be a number below inf but is {verification.first(height, wrong)} "
                    f"at x = {verification.first(x, wrong)}; a pole inside the support is named by points="
                )
        return height if outside is None else torch.where(outside, -torch.inf, height)

    def _outside(self, x: Tensor, may_ask: bool) -> Tensor | None:
        """Say which x are at an end or a point named, or beyond; None where that is asked, and none are."""
        target = self._target
        if may_ask and self._inner is not None and x.numel() > 0 and not is_mapped(x):
            least, most = x.detach().aminmax()
            if least > self._inner[0] and most < self._inner[1]:
                return None
        outside = (x <= target.low) | (x >= target.high)
        if len(target.poles) and len(self.points):
            outside = outside | (x == poles_beside(target.poles, x)).any(0)
        return outside

    def _off_poles(self, x: Tensor, height: Tensor) -> Tensor:
        """Return log_prob where it is inf as x is so near a pole that the formula rounds to the pole itself.

        It is taken from twice, four times, ... the distance, up to 2⁻⁴⁰ of the pole's place.
        """
        poles, _ = torch.broadcast_tensors(poles_beside(self._target.poles, x), x)
        pole = poles.gather(0, (x - poles).abs().nan_to_num(torch.inf).argmin(0, keepdim=True))[0]
        step = x - pole
        for _ in range(13):
            step = 2 * step
            near = (height == torch.inf) & (step.abs() <= pole.abs() * 2.0**-40)
            if not near.any():
                break
            away = self._evaluated(torch.where(near, pole + step, self._target.somewhere)).to(height.dtype)
            height = torch.where(near, away, height)
        return height

    def _evaluated(self, x: Tensor) -> Tensor:
        if self._validate and x.numel() > _TOGETHER and len(x) > 1 and get_proxy_mode() is None:
            return torch.cat([self._evaluated(part) for part in x.split(max(1, _TOGETHER // x.shape[1]))])
        values = x.reshape(-1, *self.shape)
        height = self.given(values)
        if height.shape != values.shape:
            raise ValueError(
                f"log_prob should return shape {tuple(values.shape)} for x of that shape "
                f"but returned {tuple(height.shape)}"
            )
        return height.reshape(x.shape)

    def _rows(self, points: Tensor) -> Tensor:
        """Return points, of shape (n) or (n, *shape), as columns (n, batch)."""
        points = points.reshape(len(points), *[1] * (len(self.shape) + 1 - points.dim()), *points.shape[1:])
        return points.expand(-1, *self.shape).reshape(len(points), self.shape.numel())


def _below_inf(height: Tensor) -> bool:
    """Say whether all are numbers below inf: the largest of numbers and a NaN is the NaN."""
    return height.numel() == 0 or bool(height.detach().amax() < torch.inf)
