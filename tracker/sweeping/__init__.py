"""A sweep: what it is to do, and doing it chunk by chunk, with notes and advice of it.

Nothing here reads what other sweeps came to, but for the members that it need not do again.
"""
