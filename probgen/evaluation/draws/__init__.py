"""Judges of draws: classifier tests, nearest neighbours."""
