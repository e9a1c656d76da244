"""Parts of the application ``molecules``."""
