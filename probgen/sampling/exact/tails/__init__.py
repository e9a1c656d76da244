"""Both tails of laws on the line, in logs, and what follows from them."""
