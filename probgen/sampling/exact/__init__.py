"""Exact laws, each a Pyro distribution: by inversion, by rejection, from tables.

What they have in common: ``sample``, ``log_prob``, ``expand``, and ``report()`` of what was measured when
they were made or drawn from. Each is a prior at once. Read first ``inverse_cdf.py``; below it ``inversion/``
finds where the mass is, ``tables/`` keeps quantiles for many draws, ``rejection/`` finds envelopes, and
``tails/`` has both tails of a law in logs.
"""
