"""What a member draws: retain samples from all but its own sample, each equally often."""

import numpy as np

from unlearning.sampling import retain_positions


def test_retain_draws_leave_the_sample_out_and_use_the_rest_evenly() -> None:
    drawn = retain_positions(seed=0, sample_id=42, position=4, size=10, draws=9 * 5)
    rounds = drawn.reshape(5, 9)
    assert (np.sort(rounds, axis=1) == [0, 1, 2, 3, 5, 6, 7, 8, 9]).all()
    assert len({tuple(order) for order in rounds.tolist()}) == 5
    again = retain_positions(seed=0, sample_id=42, position=4, size=10, draws=7)
    assert (again == drawn[:7]).all()
    assert (retain_positions(1, 42, 4, 10, 45) != drawn).any()
    assert (retain_positions(0, 43, 4, 10, 45) != drawn).any()
    assert len(retain_positions(0, 42, 4, 10, 0)) == 0
