"""Parts of the application ``features``."""
