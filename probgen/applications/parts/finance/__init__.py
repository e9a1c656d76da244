"""Parts of the application ``finance``."""
