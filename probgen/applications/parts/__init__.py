"""What single applications are made of, a folder each: their methods, measures and pictures."""
