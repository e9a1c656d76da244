"""The command line, which knows no model by name.

``app.py`` has the commands with their options and help texts, ``runs.py`` what ``train`` and ``sample`` do,
``comparing.py`` what ``compare`` does, of a density of the user's own ``own_density.py``; tables of questions
are in ``tables/``. Read first ``app.py``.
"""
