"""Rejection sampling: envelopes given, found by themselves, or refined with what is rejected."""
