"""Draws of a generator, corrected by its discriminator: whose scores are right, and who draws."""
