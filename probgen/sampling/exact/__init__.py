"""Exact laws, each a Pyro distribution: by inversion, by rejection, from tables."""
