"""Numerical inversion of densities on the line: where their mass is, quadrature, errors, moments.

In the order of a call by ``given_density``: ``target`` has a column per density; ``hills`` finds its modes,
and ``ends_poles_modes`` lays panels around them; ``quadrature_panels`` splits these until the polynomials of
``chebyshev_series`` fit; ``numerical_inversion`` sums them to CDFs and solves for quantiles. What
``overlooked_mass`` finds between and beyond the panels is a hint for another round; ``u_error`` measures the
result by a second quadrature. Moments are in ``density_moments``; those of laws given by a CDF or a quantile
function in ``quantile_moments``, by ``quantile_integrals``.
"""
