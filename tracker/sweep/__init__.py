"""A sweep: what it is to do, and doing it chunk by chunk, with notes and advice of it.

Of other sweeps it reads only the members that it need not compute again, and which checkpoints they
want kept.
"""
