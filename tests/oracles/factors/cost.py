"""What unlearning took."""

import math
from collections.abc import Sequence


def steps(forget_probs: Sequence[float]) -> int:
    """How many steps left a probability behind, the one before the first not counted."""
    return sum(1 for p in forget_probs if not math.isnan(p)) - 1
