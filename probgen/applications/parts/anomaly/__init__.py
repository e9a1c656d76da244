"""Parts of the application ``anomaly``."""
