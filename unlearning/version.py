"""The version of what determines a member's numbers: engine, algorithms, losses, training.

Raised by hand when any of them changes what comes out; a part of every member's key, so that
numbers of two versions never mix. A test fails when a fixed set of members changes without it.
"""

VERSION = 2
