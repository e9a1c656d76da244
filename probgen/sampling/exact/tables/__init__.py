"""Draws by table look-up: quantiles, guide tables, alias tables."""
