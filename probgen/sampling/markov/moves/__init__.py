"""Markov transitions, one file each."""
