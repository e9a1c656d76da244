"""Warm-up: step sizes, scales, mass matrices, temperatures, found before the draws begin."""
