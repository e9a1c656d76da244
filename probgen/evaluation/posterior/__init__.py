"""Judges of posteriors: a guide against chains, calibration, importance weights."""
