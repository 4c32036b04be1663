"""What a run looks like in MLflow, and the ways in which runs are written and read.

Nothing here knows how the numbers of a run came to be.
"""
