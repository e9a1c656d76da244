"""Parts of the application ``style``."""
