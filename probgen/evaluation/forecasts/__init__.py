"""Judging forecasts of numbers by what came: scores of draws and laws, calibration, tests of risk."""
