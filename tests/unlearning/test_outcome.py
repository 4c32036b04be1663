"""How a member ended, from what its last step gave."""

import pytest

from unlearning.outcome import Status


@pytest.mark.parametrize(
    ("is_finite", "is_flipped", "is_kept", "status"),
    [
        (True, True, True, Status.FLIPPED),
        (True, True, False, Status.REWOUND),
        (True, False, True, Status.MAX_STEPS),
        (True, False, False, Status.MAX_STEPS),
        (False, False, False, Status.NON_FINITE),
    ],
)
def test_status_after_a_step(
    is_finite: bool, is_flipped: bool, is_kept: bool, status: Status
) -> None:
    assert Status.after_step(is_finite, is_flipped, is_kept) is status
