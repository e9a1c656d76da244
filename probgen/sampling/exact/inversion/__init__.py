"""Numerical inversion of densities on the line: where their mass is, quadrature, errors, moments."""
