"""Base models as runs, and what is kept beside them: companions, ensembles, `pre` factors.

Nothing here knows of sweeps.
"""
