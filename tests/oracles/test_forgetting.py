"""Attacks and moments of reference models, worked out by hand."""

import math

import pytest

from tests.oracles import forgetting as oracle

EULER = 0.5772156649015329


def test_log_odds() -> None:
    assert oracle.log_odds([2.0, 2.0, 2.0], 1) == pytest.approx(-math.log(2))
    assert oracle.log_odds([math.log(3), 0.0], 0) == pytest.approx(math.log(3))  # p = 3/4
    assert oracle.log_odds([1000.0, 0.0], 0) == 1000 == -oracle.log_odds([1000.0, 0.0], 1)


def test_auc_and_tpr() -> None:
    assert oracle.auc([1, 2, 2], [0, 2]) == pytest.approx((1 + 0 + 2 * (1 + 0.5)) / 6)
    positive, negative = [5, 4, 3, 1], [4.5, 2, 0, -1]
    found = [oracle.tpr_at(positive, negative, fpr) for fpr in (0, 0.24, 0.25, 0.5, 1)]
    assert found == [0.25, 0.25, 0.75, 1, 1]
    assert oracle.tpr_at([1], [1], 0.5) == 0


def test_lira() -> None:
    assert oracle.offline_lira(2, [1, 2, 3]) == 0.5
    assert oracle.offline_lira(2 + 1.6448536269514722, [1, 2, 3]) == pytest.approx(0.05)
    # N(2, 1) at its mean; N(0, 2) one sd from its mean: -log 1 - 0 + log 2 + 1/2.
    assert oracle.online_lira(2, [1, 2, 3], [-2, 0, 2]) == pytest.approx(math.log(2) + 0.5)


def test_leave_one_out_ratio() -> None:
    # Without 1: N(4, sqrt 2); without 3: N(3, sqrt 8); without 5: N(2, sqrt 2). o: N(0, 1).
    # u: N(3, 2). Without -1: N(1/2, sqrt 1/2); without 0: N(0, sqrt 2); without 1: N(-1/2, ...).
    half = math.log(2) / 2
    of_u, of_o = oracle.leave_one_out_ratio([1, 3, 5], [-1, 0, 1])
    assert of_u == pytest.approx([-half - 9 / 4 + 1 / 2, -3 * half + 9 / 2, -half - 9 / 4 + 25 / 2])
    assert of_o == pytest.approx([1 / 4 - 3 * half, -9 / 8 - half, 7 / 4 - 3 * half])
    floored, _ = oracle.leave_one_out_ratio([2, 2, 2], [-1, 0, 1])
    assert floored == pytest.approx([math.log(1000) + 2] * 3)


def test_leave_pair_out_auc() -> None:
    assert oracle.leave_pair_out_auc([10, 11, 12], [-1, 0, 1]) == 1
    # Each pair leaves 1, 1 against 1, 1: equal ratios.
    assert oracle.leave_pair_out_auc([1, 1, 1], [1, 1, 1]) == 0.5


@pytest.mark.parametrize(
    ("u", "o", "odds"),
    [
        ([1.5, 4, 5, 6], [0, 1, 2, 4.5], (3 / 4, 1 / 4)),  # t = 4: FPR = FNR = 1/4, log(N - 1)
        # At 1.5, o the positive side: FPR 1/2, FNR 1/4. [0, 2] has FPR = FNR = 1/4, but ends more
        # than 2 below 10.
        ([0, 1, 2, 10], [-20, 1.5, 4, 5], (1 / 2, 1 / 4)),
        # At 0, u the positive side though its median is smaller: FPR 1/4, FNR 1/2.
        ([-6, -4, 0, 0], [-2, -2, -1, 4], (1 / 2, 1 / 4)),
        # Ranges .02 and 2: not peaky. At .02: FPR 1/4, FNR 1/2.
        ([0, 0.02], [-1, 0.01, 0.01, 1], (1 / 2, 1 / 4)),
    ],
)
def test_challenge_epsilon(u: list[float], o: list[float], odds: tuple[float, float]) -> None:
    for delta in (1e-5, 0.1):
        expected = math.log(odds[0] - delta) - math.log(odds[1])
        assert oracle.challenge_epsilon(u, o, delta) == pytest.approx(expected)
        assert oracle.challenge_epsilon(o, u, delta) == pytest.approx(expected)


def test_challenge_epsilon_at_its_ends() -> None:
    assert oracle.challenge_epsilon([5, 6, 7, 8], [1, 2, 3, 4]) == 50
    assert oracle.challenge_epsilon([-1, 0, 1, 2], [-6, -5, 6, 7]) == 50  # [-1, 2]
    assert oracle.challenge_epsilon([0, 0.0199], [-1, 0.01, 0.01, 1]) == 50  # peaky
    assert oracle.challenge_epsilon([0, 1, 2, 3], [1.5, 1.5, 1.5, 1.5]) == 50  # peaky
    assert oracle.challenge_epsilon([1, 1], [1, 1]) == 0
    assert oracle.challenge_epsilon([1, 2], [1, 2]) == 0
    assert oracle.challenge_epsilon([1, 1], [2, 2]) == 50
    # FPR = FNR = 1/2 and no 1 - delta - FPR > 0 at delta = .6.
    assert oracle.challenge_epsilon([0, 2], [0, 2], delta=0.6) == 0


def test_klom() -> None:
    # Edges 0, 2, 4; 4 is in no bin. u: 1/4, 3/4. o: 2/3, 1/3.
    found = oracle.klom([0, 3, 3, 3], [0, 1, 3, 4], bins=2)
    assert found == pytest.approx(math.log(3 / 8) / 4 + math.log(9 / 4) * 3 / 4)
    # u: 1/2, 1/2. o: 1, and 1e-5 for 0, over 1 + 1e-5.
    q = [1 / (1 + 1e-5), 1e-5 / (1 + 1e-5)]
    expected = math.log(0.5 / q[0]) / 2 + math.log(0.5 / q[1]) / 2
    assert oracle.klom([0, 3], [0, 0, 4], bins=2) == pytest.approx(expected)
    assert oracle.klom([0, 3], [0, 0, 900], bins=2, clip=4) == pytest.approx(expected)
    assert oracle.klom([0, 0, 4], [0, 3], bins=2) == pytest.approx(
        math.log(2)
    )  # u: 1, 0; o: 1/2, 1/2
    assert oracle.klom([1, 1], [1, 1, 1]) == 0
    assert math.isnan(oracle.klom([4, 4], [0, 3]))


def test_energy_distance_and_its_p() -> None:
    assert oracle.energy_distance([0], [3]) == 6
    assert oracle.energy_distance([0, 2], [1]) == 2 * 1 - 1
    assert oracle.energy_distance([1, 5], [5, 1]) == 0
    assert oracle.permutation_p([0, 1], [10, 11]) == pytest.approx(2 / 6)  # itself, and exchanged
    assert oracle.permutation_p([0, 1, 2], [10]) == 1 / 4
    assert oracle.permutation_p([1, 5], [5, 1]) == 1
    # In tenths: 1, 3 | 2, 4 has 1, as 1, 4 | 2, 3 has; 1, 2 | 3, 4 has 3. Floats are not tenths.
    assert oracle.permutation_p([0.1, 0.3], [0.2, 0.4]) == 1


def test_digamma_and_trigamma() -> None:
    assert oracle.digamma(1) == pytest.approx(-EULER, rel=1e-12)
    assert oracle.digamma(0.5) == pytest.approx(-EULER - 2 * math.log(2), rel=1e-12)
    assert oracle.trigamma(1) == pytest.approx(math.pi**2 / 6, rel=1e-12)
    assert oracle.trigamma(0.5) == pytest.approx(math.pi**2 / 2, rel=1e-12)


def test_moderated() -> None:
    # dof 2: e = log s^2 + Euler. Equal variances: no scatter, s0^2 = s^2 exp(Euler).
    dof, prior, shrunk = oracle.moderated([3, 3, 9], [2, 2, 0])
    assert dof == math.inf
    assert [prior, *shrunk] == pytest.approx([3 * math.exp(EULER)] * 4)
    # e = Euler +- a with 2 a^2 = pi^2 / 3: less pi^2 / 6 is trigamma(1), so d0 = 2, s0^2 = 1.
    s = math.exp(math.pi / math.sqrt(6))
    dof, prior, shrunk = oracle.moderated([s, 1 / s, 7], [2, 2, 0])
    assert [dof, prior, *shrunk] == pytest.approx([2, 1, (1 + s) / 2, (1 + 1 / s) / 2, 1])
    # dof 1: e = log 2 s^2 + Euler. Mean trigamma(d / 2) is pi^2 / 3. With 2 a^2 = 5 pi^2 / 6 the
    # rest is trigamma(1/2), so d0 = 1, s0^2 = exp(Euler + digamma(1/2) + log 2) = 1/2.
    s = math.exp(math.pi * math.sqrt(5 / 12))
    dof, prior, shrunk = oracle.moderated([s / 2, 1 / s], [1, 2])
    assert [dof, prior, *shrunk] == pytest.approx([1, 0.5, (0.5 + s / 2) / 2, (0.5 + 2 / s) / 3])


def test_z_and_the_map() -> None:
    assert oracle.z_score(3, 1, 4) == 0.5
    assert oracle.mapped_target(7, 5, 2, 1, 3) == 4
    limit = math.tan(0.45 * math.pi) * math.sqrt(4 / 3)  # t's 95% point at one degree of freedom
    for sign in (-1, 1):
        assert oracle.is_forgotten(sign * (limit - 1e-9), 3, 1)
        assert not oracle.is_forgotten(sign * (limit + 1e-9), 3, 1)
    assert oracle.is_forgotten(1.6448, 10**9, math.inf)
    assert not oracle.is_forgotten(1.6449, 10**9, math.inf)
