"""Anomalies: scores of data, how well they detect, thresholds with a known false-alarm rate."""
