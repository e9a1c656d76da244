"""Parts of the application ``text``."""
