"""Parts of the application ``augmentation``."""
