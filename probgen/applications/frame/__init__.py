"""What all applications share: the registry, a study in its folder, paired intervals, the report."""
