"""Judges of codes: clusters, transfer, pictures, disentanglement, known factors or sources, robustness."""
