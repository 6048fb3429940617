"""Conjugate gradients against a direct solve; the line search against a slow loop, run by run."""

import pytest
import torch

from study.solver import acceptable, backtracking_line_search, conjugate_gradient

RUNS, SIZE = 4, 7


@pytest.fixture
def system(rng):
    """Positive definite matrices [R, P, P], well conditioned, and right-hand sides [R, P]."""
    factor = torch.randn(RUNS, SIZE, SIZE, generator=rng, dtype=torch.float64)
    matrix = factor @ factor.mT + torch.eye(SIZE, dtype=torch.float64)
    return matrix, torch.randn(RUNS, SIZE, generator=rng, dtype=torch.float64)


def times(matrix):
    return lambda v: (matrix @ v.unsqueeze(-1)).squeeze(-1)


def test_conjugate_gradient_is_the_direct_solve_after_p_iterations(system):
    matrix, b = system
    x, residual = conjugate_gradient(times(matrix), b, SIZE)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b), rtol=1e-9, atol=1e-9)
    assert (residual < 1e-9).all()


def test_conjugate_gradients_go_on_until_nothing_but_rounding_is_left():
    """With eigenvalues from 1 to 4 an iteration takes two thirds of the error: 40 of them all of it."""
    for dtype in (torch.float32, torch.float64):
        eigenvalues = torch.linspace(1, 4, 50, dtype=dtype)
        b = torch.ones(1, 50, dtype=dtype)
        x, residual = conjugate_gradient(lambda v, own=eigenvalues: own * v, b, 40)
        true = (b - eigenvalues * x).norm() / b.norm()
        assert max(true, residual.item()) < 10 * torch.finfo(dtype).eps


@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_the_residual_reported_is_the_true_one(system, iterations):
    matrix, b = system
    x, residual = conjugate_gradient(times(matrix), b, iterations)
    true = (b - times(matrix)(x)).norm(dim=-1) / b.norm(dim=-1)
    assert (true > 1e-6).all()
    torch.testing.assert_close(residual, true)


@pytest.mark.parametrize("iterations", [1, 3, SIZE])
def test_every_iterate_has_equal_curvature_and_slope(system, iterations):
    """x^T A x = x^T b, which starting at 0 and not at a random point gives."""
    matrix, b = system
    x, _ = conjugate_gradient(times(matrix), b, iterations)
    torch.testing.assert_close((x * times(matrix)(x)).sum(-1), (x * b).sum(-1))


def test_the_first_iterate_is_the_steepest_descent_step(system):
    matrix, b = system
    x, _ = conjugate_gradient(times(matrix), b, 1)
    for run in range(RUNS):
        length = (b[run] @ b[run]) / (b[run] @ matrix[run] @ b[run])
        torch.testing.assert_close(x[run], length * b[run])


def test_the_right_hand_side_is_not_written_to(system):
    """p and r start as the same vector: an update in place would let one corrupt the other."""
    matrix, b = system
    before = b.clone()
    conjugate_gradient(times(matrix), b, 3)
    assert torch.equal(b, before)


def test_each_run_is_solved_as_if_alone(system):
    matrix, b = system
    together, residual = conjugate_gradient(times(matrix), b, 3)
    for run in range(RUNS):
        alone, its_residual = conjugate_gradient(times(matrix[run : run + 1]), b[run : run + 1], 3)
        torch.testing.assert_close(alone[0], together[run])
        torch.testing.assert_close(its_residual[0], residual[run])


def test_a_zero_right_hand_side_gives_zero_and_disturbs_nobody(system):
    matrix, b = system
    b[1] = 0
    x, residual = conjugate_gradient(times(matrix), b, SIZE)
    assert (x[1] == 0).all() and residual[1] == 0
    others = [0, 2, 3]
    torch.testing.assert_close(x[others], torch.linalg.solve(matrix, b)[others], rtol=1e-9, atol=1e-9)


def test_iterations_beyond_convergence_do_no_harm(system):
    matrix, b = system
    x, residual = conjugate_gradient(times(matrix), b, 10 * SIZE)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b), rtol=1e-9, atol=1e-9)
    assert residual.isfinite().all()


def test_a_run_that_turns_nan_leaves_the_others_their_bits(system):
    matrix, b = system
    clean, _ = conjugate_gradient(times(matrix), b, 5)
    matrix[2] = torch.nan
    poisoned, residual = conjugate_gradient(times(matrix), b, 5)
    others = [0, 1, 3]
    assert torch.equal(poisoned[others], clean[others])
    assert residual[2].isnan()


# Line search: change() given as tables over k, so that every case is chosen.


def tables(gain, kl, factor=0.5):
    """change(theta) whose gain and KL of run r at theta = factor^k are gain[r][k], kl[r][k]."""
    gain, kl = torch.tensor(gain, dtype=torch.float64), torch.tensor(kl, dtype=torch.float64)
    lengths = factor ** torch.arange(gain.shape[1], dtype=torch.float64)

    def change(theta):
        k = (theta[:, :1] - lengths).abs().argmin(1, keepdim=True)
        return gain.gather(1, k)[:, 0], kl.gather(1, k)[:, 0]

    return change


def search(gain, kl, max_kl=0.01):
    runs = len(gain)
    theta, step = torch.zeros(runs, 1, dtype=torch.float64), torch.ones(runs, 1, dtype=torch.float64)
    bound = torch.full((runs,), max_kl, dtype=torch.float64)
    return backtracking_line_search(tables(gain, kl), theta, step, bound, len(gain[0]) - 1, 0.5)


def test_the_first_acceptable_length_is_taken():
    found = search(
        gain=[[1, 1, 1, 1], [-1, 1, 1, 1], [1, 1, -1, 1], [0, 0, 0, 1]],
        kl=[[0.01, 0, 0, 0], [0, 0, 0, 0], [0.02, 0.011, 0, 0.01], [0, 0, 0, 0]],
    )
    assert found.theta[:, 0].tolist() == [1, 0.5, 0.125, 0.125]
    assert found.backtracks.tolist() == [0, 1, 3, 3]
    assert found.accepted.all()
    assert found.kl_attempted.tolist() == [0.01, 0, 0.02, 0]


def test_both_the_gain_and_the_kl_are_checked():
    found = search(gain=[[1, 1], [-1, -1]], kl=[[1.0, 1.0], [0, 0]])
    assert not found.accepted.any() and (found.theta == 0).all()
    assert found.backtracks.tolist() == [1, 1]


def test_thresholds_do_not_compound_from_one_length_to_the_next():
    """A late length that meets the bounds as stated is accepted, one that misses them is not."""
    tries = 9
    found = search(gain=[[-1.0] * tries + [1e-12]] * 2, kl=[[0.0] * tries + [0.01], [0.0] * tries + [0.0100001]])
    assert found.accepted.tolist() == [True, False]


def test_nan_and_infinite_candidates_are_rejected():
    nan, inf = float("nan"), float("inf")
    found = search(
        gain=[[nan, nan], [1, 1], [inf, nan], [nan, 1], [nan, nan]],
        kl=[[0, 0], [nan, nan], [inf, 0], [nan, 0], [nan, nan]],
    )
    assert found.accepted.tolist() == [False, False, False, True, False]
    assert found.theta[:, 0].tolist() == [0, 0, 0, 0.5, 0]


def test_a_failed_search_restores_the_parameters_bit_for_bit(rng):
    theta = torch.randn(3, 5, generator=rng, dtype=torch.float64)
    step = torch.randn(3, 5, generator=rng, dtype=torch.float64)
    step[2] = torch.nan

    def hopeless(candidate):
        return torch.ones(3), torch.full((3,), 5.0)

    found = backtracking_line_search(hopeless, theta, step, torch.full((3,), 0.01), 10, 0.5)
    assert torch.equal(found.theta, theta)
    assert found.backtracks.tolist() == [10, 10, 10]


def test_line_search_is_a_slow_loop_for_every_run_and_never_exceeds_max_kl(rng):
    """On random quadratic gains and KLs, with a bound of its own for each run."""
    runs, size, backtracks = 200, 4, 6
    theta = torch.randn(runs, size, generator=rng, dtype=torch.float64)
    step = torch.randn(runs, size, generator=rng, dtype=torch.float64)
    slope = torch.randn(runs, size, generator=rng, dtype=torch.float64)
    sharpness = 3 * torch.rand(runs, generator=rng, dtype=torch.float64)
    max_kl = 2 * torch.rand(runs, generator=rng, dtype=torch.float64).square()

    def gain_and_kl(new, old, slope, sharpness):
        moved = new - old
        square = moved.square().sum(-1)
        return (slope * moved).sum(-1) - sharpness * square, square

    found = backtracking_line_search(
        lambda new: gain_and_kl(new, theta, slope, sharpness), theta, step, max_kl, backtracks, 0.5
    )
    for run in range(runs):
        taken, k = None, 0
        for k in range(backtracks + 1):
            candidate = theta[run] + 0.5**k * step[run]
            gain, kl = gain_and_kl(candidate, theta[run], slope[run], sharpness[run])
            if k == 0:
                torch.testing.assert_close(found.kl_attempted[run], kl)
            if gain > 0 and kl <= max_kl[run]:
                taken = candidate
                break
        assert found.accepted[run] == (taken is not None)
        assert found.backtracks[run] == k
        torch.testing.assert_close(found.theta[run], theta[run] if taken is None else taken)
    _, kl = gain_and_kl(found.theta, theta, slope, sharpness)
    assert (kl <= max_kl).all()
    assert 20 < found.accepted.sum() < runs - 20, "both outcomes must occur"
    assert len(set(found.backtracks[found.accepted].tolist())) > 3, "several lengths must occur"


def test_acceptable_is_a_strict_gain_within_the_bound():
    gain = torch.tensor([1.0, 0.0, -1.0, 1.0, 1.0, torch.nan, 1.0])
    kl = torch.tensor([0.01, 0.0, 0.0, 0.0, 0.02, 0.0, torch.nan])
    assert acceptable(gain, kl, torch.tensor(0.01)).tolist() == [True, False, False, True, False, False, False]
