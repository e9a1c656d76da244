"""Markov chains by the thousand: moves, warm-up, runs, diagnosis."""
