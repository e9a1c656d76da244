"""Parts of the application ``speech``."""
