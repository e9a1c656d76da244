"""Functions recorded as graphs, held against the eager ones, run as is, compiled, or as CUDA graphs."""
