"""Judges of draws: classifier tests, neighbours, copies, modes, distances in learned features."""
