"""How a store is reached: its address, its identity, its database and files, and waiting for it.

Nothing here knows what a run of ours looks like.
"""
