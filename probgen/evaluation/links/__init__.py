"""Judging scores of links of a graph, and the scores that a model has to beat."""
