"""Judges of codes: how they correspond to known factors or sources."""
