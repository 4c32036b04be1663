"""From a store to the warehouse, to lists and to files; checks, repair, pruning, publishing.

Nothing here unlearns.
"""
