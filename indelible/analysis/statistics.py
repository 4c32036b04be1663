"""The statistics that SQL has no function for."""

from __future__ import annotations

import math

from scipy.special import stdtr


def spearman_p_value(rho: float, n: int) -> float:
    """Two-sided p-value of Spearman's rho from the t distribution with n - 2 degrees of freedom.

    t = rho sqrt((n - 2) / (1 - rho^2)), as in the published Table 1. Defined for n > 2.
    """
    if abs(rho) == 1:
        return 0.0
    t = rho * math.sqrt((n - 2) / ((1 - rho) * (1 + rho)))
    return float(2 * stdtr(n - 2, -abs(t)))
