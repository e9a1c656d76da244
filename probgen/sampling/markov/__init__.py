"""Markov chains by the thousand: moves, warm-up, runs, diagnosis.

A move, in ``moves/``, is a function from a density to a ``Transition(init, step)`` on a batch of chains, and
tunes nothing. ``warmup/`` finds step sizes, shapes and lengths, and then lets them be; ``sample.py`` does
both in one call, ``run.py`` runs a move as it is. ``chains.py`` holds draws with their summary, and
``diagnosis.py`` says in words what is wrong. Read first ``sample.py``, then ``moves/metropolis.py``.
"""
