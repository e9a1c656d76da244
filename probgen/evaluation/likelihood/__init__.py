"""Likelihood of held-out data: importance sampling, Parzen windows."""
