"""Parts of the application ``recommend``."""
