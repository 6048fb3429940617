"""Small mistakes made on purpose, one at a time, each with a test of the default suite that finds it.

    python tests/mutations.py [WORD ...]     tries those whose words, file or test have a WORD (all: half an hour)

Each is made in a copy of the repository, where its test has to pass before and to fail after. The table that is printed
is that of docs/how-to/check.md.
"""

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
# Imported once for all tests
HEAVY = ("envpool", "gymnasium", "hydra", "matplotlib.figure", "pyarrow.parquet", "statsmodels.api", "torch._dynamo")


class Mutation(NamedTuple):
    words: str
    file: str
    old: str  # is in the file once
    new: str
    test: str  # file::function in tests/, with its parameters where one set of them is enough


MUTATIONS = (
    # The update
    Mutation(
        "the multiplier λ* without the 2 of 2 δ",
        "study/algorithm/trpo.py",
        "squared / (2 * settings.max_kl)",
        "squared / settings.max_kl",
        "test_algorithm.py::test_trpos_full_step_lies_on_the_boundary_of_the_damped_quadratic_model",
    ),
    Mutation(
        "a step without gain is accepted",
        "study/solver.py",
        "(surrogate_gain > 0) &",
        "(surrogate_gain >= 0) &",
        "test_solver.py::test_acceptable_is_a_strict_gain_within_the_bound",
    ),
    Mutation(
        "the line search tries one length less",
        "study/solver.py",
        "for k in range(backtracks + 1):",
        "for k in range(backtracks):",
        "test_solver.py::test_line_search_is_a_slow_loop_for_every_run_and_never_exceeds_max_kl",
    ),
    Mutation(
        "conjugate gradients stop at the root of rounding",
        "study/solver.py",
        "torch.finfo(b.dtype).eps ** 2 * rr",
        "torch.finfo(b.dtype).eps * rr",
        "test_solver.py::test_conjugate_gradients_go_on_until_nothing_but_rounding_is_left",
    ),
    Mutation(
        "bisection turns back where the value rises inside a bracket, too",
        "study/solver.py",
        "rose = above & high.isnan() &",
        "rose = above &",
        "test_arms.py::test_bisection_finds_the_root_of_a_falling_function_that_rises_again",
    ),
    Mutation(
        "of several vectors per run each half goes to one run",
        "study/fused.cpp",
        "for (Int s = run; s < vectors; s += runs) its.product(",
        "for (Int s = run * vectors / runs; s < (run + 1) * vectors / runs; s++) its.product(",
        "test_fused.py::test_the_networks_derivatives_are_autograds",
    ),
    Mutation(
        "a gradient shorter than its bound is stretched",
        "study/fused.cpp",
        "        factor = factor > 1 ? 1 : factor;\n",
        "",
        "test_fused.py::test_fused_is_eager_under_other_settings[max_grad_norm1]",
    ),
    Mutation(
        "the penalty takes the KL from new to old",
        "study/algorithm/kl_fixed.py",
        "from study.objective import mean_kl, surrogate",
        "from study.objective import mean_kl_new_old as mean_kl\nfrom study.objective import surrogate",
        "test_arms.py::test_first_update_is_the_slow_loop[kl_fixed-adam-0.01-gaussian]",
    ),
    Mutation(
        "PPO's rule halves beta only below half the target",
        "study/algorithm/kl_adaptive.py",
        "steps(kl, kl_target / 1.5, 1.5 * kl_target)",
        "steps(kl, kl_target / 2, 1.5 * kl_target)",
        "test_arms.py::test_a_rule_moves_beta_by_the_kl_over_its_target[ppo]",
    ),
    Mutation(
        "modular_rl's hinge begins at the target instead of twice it",
        "study/algorithm/kl_adaptive.py",
        "batch) - 2 * kl_target",
        "batch) - kl_target",
        "test_arms.py::test_first_update_is_the_slow_loop[modular_rl-adam-0.01-gaussian]",
    ),
    Mutation(
        "the surrogate is clipped on the pessimistic side, too",
        "study/algorithm/clip.py",
        "torch.minimum(r * batch.advantage, clipped * batch.advantage)",
        "(clipped * batch.advantage)",
        "test_arms.py::test_first_update_is_the_slow_loop[clip-adam-0.01-gaussian]",
    ),
    Mutation(
        "beta is solved for, and Adam's state stays that of before",
        "study/algorithm/kl_bisect.py",
        "State(adam, root.x)",
        "State(state.adam, root.x)",
        "test_arms.py::test_kl_bisect_ends_on_the_constraint_by_the_inner_loop_of_kl_fixed",
    ),
    Mutation(
        "a natural logarithm is added to one of base two",
        "study/algorithm/kl_dual.py",
        " / math.log(2)",
        "",
        "test_arms.py::test_beta_moves_once_per_update_by_the_kl_of_the_full_batch",
    ),
    Mutation(
        "the weights' KL is to the whole batch, not to the chosen samples",
        "study/algorithm/vmpo.py",
        "weights * chosen.sum(-1, keepdim=True)",
        "weights * chosen.shape[-1]",
        "test_arms.py::test_first_update_of_vmpo_is_the_slow_loop_with_the_temperature_that_minimises_the_dual",
    ),
    Mutation(
        "the projected policy is differentiated in the second term, too",
        "study/algorithm/projection.py",
        "projected_mean.detach(), projected_log_std.detach()",
        "projected_mean, projected_log_std",
        "test_arms.py::test_first_update_of_projection_is_the_slow_loop_with_numerical_derivatives",
    ),
    Mutation(
        "the fix-up moves the runs that need none, too",
        "study/algorithm/fixpo.py",
        "theta, state = where(far, step(fixup_loss, theta, state, order), (theta, state))",
        "theta, state = step(fixup_loss, theta, state, order)",
        "test_arms.py::test_first_update_of_fixpo_is_the_slow_loop_with_its_fixup",
    ),
    Mutation(
        "Adam's state goes on where a run has stopped",
        "study/algorithm/kl_stop.py",
        "theta, adam = where(going, further, (theta, adam))",
        "theta, adam = where(going, further[0], theta), further[1]",
        "test_arms.py::test_kl_stop_holds_parameters_and_adam_of_stopped_runs_only",
    ),
    Mutation(
        "the rate follows the KL of the first step already",
        "study/algorithm/lr_adaptive.py",
        "if step > 0:",
        "if step >= 0:",
        "test_arms.py::test_first_update_of_lr_adaptive_is_the_slow_loop_whose_rate_moves_before_every_step",
    ),
    Mutation(
        "the cross-fitted square loses its sign",
        "study/algorithm/kl_measured.py",
        "x.implied_beta_crossfit * x.implied_beta_crossfit.abs()",
        "x.implied_beta_crossfit.square()",
        "test_arms.py::test_updates_of_kl_measured_are_the_slow_loop_with_the_dense_solves_beta_which_then_stays",
    ),
    Mutation(
        "the crossed product takes the whole gradient for a half's",
        "study/implied_beta.py",
        "crossed = (g_a * x[runs:])",
        "crossed = (g * x[runs:])",
        "test_implied_beta.py::test_on_pure_noise_the_crossfit_averages_zero_and_the_plain_estimate_its_floor",
    ),
    Mutation(
        "a shift of the mean is measured by the old standard deviation",
        "study/policy.py",
        "torch.exp(-new_log_std)",
        "torch.exp(-old_log_std)",
        "test_policy.py::test_kl_is_of_old_from_new_and_not_the_reverse",
    ),
    Mutation(
        "initial weights of a QR decomposition without its signs",
        "study/policy.py",
        "q = q * np.sign(np.diagonal(r))",
        "q = q * 1.0",
        "test_policy.py::test_initial_weights_are_uniform_over_the_orthogonal_matrices",
    ),
    # What it learns from
    Mutation(
        "advantages run on over a time limit",
        "study/rollout.py",
        "gamma * gae_lambda * ~(terminated | truncated)",
        "gamma * gae_lambda * ~terminated",
        "test_rollout.py::test_gae_is_the_double_sum",
    ),
    Mutation(
        "the discounted return restarts one step early",
        "study/rollout.py",
        "(gamma[:, None] * ~began)",
        "(gamma[:, None] * ~ended)",
        "test_rollout.py::test_reward_scale_is_a_slow_loop_carried_across_iterations",
    ),
    Mutation(
        "the first observations count twice",
        "study/fleet.py",
        "        if normalised and not first:\n            self.moments.update(experience.observation)\n",
        "        self.moments.update(experience.observation)\n",
        "test_fleet.py::test_the_algorithm_sees_the_advantages_of_the_true_episodes",
    ),
    Mutation(
        "the value learns from standardised advantages",
        "study/fleet.py",
        "target = raw_advantage + estimate",
        "target = normalise(raw_advantage) + estimate",
        "test_fleet.py::test_the_algorithm_sees_the_advantages_of_the_true_episodes",
    ),
    Mutation(
        "an open episode begins with the return of the whole rollout",
        "study/fleet.py",
        "total[-1] - (total[at[-1]] if len(at) else 0)",
        "total[-1]",
        "test_fleet.py::test_episode_statistics_are_a_slow_loop",
    ),
    Mutation(
        "a resumed training has forgotten the scale of the rewards",
        "study/fleet.py",
        "for moments, held in zip((self.moments, self.reward_scale.moments), state",
        "for moments, held in zip((self.moments,), state",
        "test_fleet.py::test_a_resumed_training_gives_the_bits_of_an_uninterrupted_one[cartpole-trpo]",
    ),
    Mutation(
        "explained variance is a ratio of the predictions' variance",
        "study/value.py",
        "/ target.var(-1, correction=0)",
        "/ value.var(-1, correction=0)",
        "test_sgd.py::test_explained_variance_is_one_for_the_truth_and_zero_for_a_constant",
    ),
    Mutation(
        "minibatches of all runs come from the first run's samples",
        "study/sgd.py",
        "rows = order + samples * torch.arange(runs, device=order.device).unsqueeze(-1)",
        "rows = order + 0 * torch.arange(runs, device=order.device).unsqueeze(-1)",
        "test_sgd.py::test_minibatches_show_every_sample_once_and_in_the_order_given",
    ),
    Mutation(
        "the square's running mean has the mean's correction",
        "study/fused.cpp",
        "other = 1 / second_weight",
        "other = 1 / first_weight",
        "test_fused.py::test_fused_steps_are_the_eager_ones",
    ),
    Mutation(
        "the entropy bonus is a cost where the inner loop is one call",
        "study/fused.cpp",
        "in_log_std = all(-bonus)",
        "in_log_std = all(bonus)",
        "test_fused.py::test_a_known_slope_is_autograds[Gaussian6-kl_fixed with entropy]",
    ),
    Mutation(
        "the slope of a square lacks its 2",
        "study/fused.cpp",
        "V pull = times(half, times(times(shift, by), all(2)));",
        "V pull = times(half, times(shift, by));",
        "test_fused.py::test_a_known_slope_is_autograds[Gaussian6-kl_fixed]",
    ),
    Mutation(
        "the divergence is always from the old policy to the new one",
        "study/fused.py",
        '"study.algorithm.kl_reverse.loss": (1, 2)',
        '"study.algorithm.kl_reverse.loss": (1, 1)',
        "test_fused.py::test_a_known_slope_is_autograds[Categorical5-kl_reverse]",
    ),
    Mutation(
        "the divergence near the old policy counts far from it, too",
        "study/fused.cpp",
        "near = most <= 1 ? share : V{};",
        "near = share;",
        "test_fused.py::test_a_known_slope_is_autograds[Categorical5-kl_fixed]",
    ),
    Mutation(
        "of categoricals side by side the first one's choice counts for all",
        "study/fused.cpp",
        "component(along, load(action.data() + c * BLOCK + n), from, end);",
        "component(along, load(action.data() + n), from, end);",
        "test_fused.py::test_a_known_slope_is_autograds[Categoricals9-kl_fixed]",
    ),
    Mutation(
        "a ratio beyond the clip range is learned from",
        "study/fused.cpp",
        "((r >= low) & (r <= high) ? times(with, A) : none)",
        "times(with, A)",
        "test_fused.py::test_a_known_slope_is_autograds[Gaussian6-clip]",
    ),
    Mutation(
        "minibatches' own advantages are those of the first minibatch",
        "study/fused.cpp",
        "gather(loss.advantage + (rows - loss.order), nullptr",
        "gather(loss.advantage, nullptr",
        "test_fused.py::test_an_inner_loop_in_one_call_has_the_bits_of_minibatch_by_minibatch[minibatches-kl_fixed]",
    ),
    Mutation(
        "conjugate gradients in one call go on beyond rounding",
        "study/fused.cpp",
        "bool going = rr > least;",
        "bool going = true;",
        "test_fused.py::test_conjugate_gradients_in_one_call_have_the_bits_of_torchs[Gaussian2]",
    ),
    Mutation(
        "conjugate gradients in one call damp every run as the first",
        "study/fused.cpp",
        "its.solve(b + s * stride, damping[run]",
        "its.solve(b + s * stride, damping[0]",
        "test_fused.py::test_conjugate_gradients_in_one_call_have_the_bits_of_torchs[Categorical3]",
    ),
    Mutation(
        "the Fisher information of a log std lacks its 2 where it is fused",
        "study/fused.cpp",
        "constant.end(), 2 * v[parameters + i]",
        "constant.end(), v[parameters + i]",
        "test_fused.py::test_the_networks_derivatives_are_autograds[tanh-64-shape2]",
    ),
    Mutation(
        "the surrogate's gradient in one call leads down",
        "study/fused.cpp",
        "return times(times(-share, A), r);",
        "return times(times(share, A), r);",
        "test_fused.py::test_a_known_slope_is_autograds[Gaussian6-surrogate_at]",
    ),
    Mutation(
        "of equal outputs the last action is taken",
        "study/acting.cpp",
        "if (x[i] > x[at] ||",
        "if (x[i] >= x[at] ||",
        "test_fused.py::test_a_rollout_has_the_bits_of_single_steps_sampled_in_numpy",
    ),
    # Environments, and what is kept
    Mutation(
        "the time limit of all copies begins anew where one of them ends",
        "study/task.py",
        "self._began[ended] = self._clock",
        "self._began[:] = self._clock",
        "test_task.py::test_a_time_limit_counts_each_copys_own_steps",
    ),
    Mutation(
        "an environment is given back what it must not change",
        "study/apart.py",
        "                if setting.given_back:\n                    self.theirs[setting] = now\n",
        "                self.theirs[setting] = now\n",
        "test_apart.py::test_a_guard_gives_back_what_may_be_given_back_and_nothing_else",
    ),
    Mutation(
        "a curve that lacks its first row is whole",
        "study/launch/store.py",
        "iterations[:, 0] == iterations[:, 1] + 1",
        "iterations[:, 0] <= iterations[:, 1] + 1",
        "test_identity.py::test_runs_without_a_whole_curve_are_named_and_the_file_kept",
    ),
    Mutation(
        "of different rows of one run the first counts",
        "study/launch/store.py",
        'repeated = frame.duplicated(keys, keep="last")',
        'repeated = frame.duplicated(keys, keep="first")',
        "test_identity.py::test_different_rows_of_one_run_are_named_and_the_file_kept",
    ),
    Mutation(
        "fleets are packed of unfinished runs alone",
        "study/launch/plan.py",
        "for fleet in _even(runs):",
        "for fleet in _even([config for config in runs if config.run_id not in finished]):",
        "test_sweeps.py::test_packing_is_the_same_whatever_is_finished_already",
    ),
    Mutation(
        "a checkpoint of another version of the environment is used",
        "study/launch/checkpoint.py",
        'if held["environment"] != belongs["environment"]:',
        'if held["environment"] is None:',
        "test_environments.py::test_an_edited_environment_sets_checkpoints_aside_and_finished_runs_are_named",
    ),
    Mutation(
        "a fork at a step within a rollout begins one rollout early",
        "study/fleet.py",
        "self.origin = -(-self.config.fork.at // self.config.horizon)",
        "self.origin = self.config.fork.at // self.config.horizon",
        "test_fork.py::test_a_fork_begins_where_its_source_was",
    ),
    Mutation(
        "a setting of another library is looked for in all groups at once",
        "study/spelling.py",
        'for where in (lambda each: each.rpartition(".")[0] == group, lambda each: True):',
        "for where in (lambda each: True,):",
        "test_spelling.py::test_a_name_from_elsewhere_is_answered_with_ours",
    ),
    # Switches
    Mutation(
        "rewards are bounded before they are scaled",
        "study/fleet.py",
        "reward = reward.clip(-self.config.reward_clip, self.config.reward_clip)",
        "reward = self.reward_factor * experience.reward.clip(-self.config.reward_clip, self.config.reward_clip)",
        "test_switches.py::test_rewards_are_clipped_after_they_are_scaled[False]",
    ),
    Mutation(
        "what is annealed is 0 in the last iteration already",
        "study/fleet.py",
        "self.configs[0], 1 - iteration / self.iterations",
        "self.configs[0], 1 - iteration / (self.iterations - 1)",
        "test_switches.py::test_the_learning_rates_are_torchs_linear_schedule[False]",
    ),
    Mutation(
        "the value fit's learning rate is not annealed",
        "study/fleet.py",
        "self._stack([left * config.value_learning_rate for config in self.configs])",
        "self._stack([config.value_learning_rate for config in self.configs])",
        "test_switches.py::test_the_learning_rates_are_torchs_linear_schedule[False]",
    ),
    Mutation(
        "a clip range that was annealed is annealed again",
        "study/fleet.py",
        "self._stack([left * c.algorithm.clip_epsilon for c in self.configs])",
        "left * self.settings.clip_epsilon",
        "test_switches.py::test_the_clip_range_is_torchs_linear_schedule",
    ),
    Mutation(
        "the entropy bonus is a cost",
        "study/sgd.py",
        "- coefficient * mean_entropy(policy, theta, batch)",
        "+ coefficient * mean_entropy(policy, theta, batch)",
        "test_switches.py::test_the_entropy_bonus_is_in_a_plain_loop_over_torch_adam[gaussian]",
    ),
    Mutation(
        "TRPO's line search gains the whole entropy and not its change",
        "study/fleet.py",
        "self.entropy_coefficient * (made.entropy - before)",
        "self.entropy_coefficient * made.entropy",
        "test_switches.py::test_trpos_objective_has_the_entropy_bonus[gaussian]",
    ),
    Mutation(
        "the smaller of the two value losses is taken",
        "study/value.py",
        "torch.maximum((value - batch.value_target)",
        "torch.minimum((value - batch.value_target)",
        "test_switches.py::test_the_clipped_value_loss_is_a_plain_loop_over_torch_adam",
    ),
    Mutation(
        "an activation of one's own is the policy's alone",
        "study/fleet.py",
        "self.critic = Network((copies.observation_size, *self.config.hidden, 1), self.config.activation)",
        "self.critic = Network((copies.observation_size, *self.config.hidden, 1))",
        "test_switches.py::test_relu_is_of_both_networks_and_the_same_fused[clip]",
    ),
    Mutation(
        "torch's bound of initial weights is of a layer's outputs",
        "study/policy.py",
        "else 1 / math.sqrt(inputs)",
        "else 1 / math.sqrt(outputs)",
        "test_switches.py::test_initial_weights_have_the_distribution_of_torchs[torch]",
    ),
    Mutation(
        "the first batch is standardised by itself whatever the initial weights are",
        "study/fleet.py",
        'first = first and self.config.initialization == "orthogonal"',
        "pass",
        "test_switches.py::test_the_first_batch_is_learned_from_as_it_was_acted_on[False-xavier]",
    ),
    Mutation(
        "observations are normalised whatever is asked for",
        "study/fleet.py",
        "normalised = self.config.observation_normalization",
        "normalised = True",
        "test_switches.py::test_raw_observations_are_seen_in_learning_and_in_acting[False-pendulum]",
    ),
    Mutation(
        "what acts bounds observations at 5 whatever is asked for",
        "study/fleet.py",
        "moments.scale(), self.observation_clip)",
        "moments.scale())",
        "test_switches.py::test_observations_are_clipped_in_learning_and_in_acting[False-pendulum-0.5]",
    ),
    Mutation(
        "of a std per state the two halves of the outputs change places in acting",
        "study/policy.py",
        "mean, log_std = np.split(outputs, 2, -1)",
        "log_std, mean = np.split(outputs, 2, -1)",
        "test_switches.py::test_a_std_per_state_is_the_second_half_of_torchs_network",
    ),
    # Statistics, scores and the model of responses
    Mutation(
        "a degree of freedom too many in Satterthwaite's sum",
        "analysis/statistics.py",
        "satterthwaite(parts, counts - 1)",
        "satterthwaite(parts, counts)",
        "test_analysis_statistics.py::test_a_difference_of_one_task_is_that_of_welch_s_test",
    ),
    Mutation(
        "Bonferroni over rivals and not over tasks",
        "analysis/statistics.py",
        "loses.min(axis=(-3, -2)) * tasks * max(1, settings - 1)",
        "loses.min(axis=(-3, -2)) * max(1, settings - 1)",
        "test_analysis_statistics.py::test_single_setting_tests_by_hand",
    ),
    Mutation(
        "the long end of a studentised bootstrap on the wrong side",
        "analysis/statistics.py",
        "np.minimum(low, average - last * error)[()], np.maximum(high, average - first * error)[()]",
        "np.minimum(low, average + first * error)[()], np.maximum(high, average + last * error)[()]",
        "test_analysis_statistics.py::test_the_skewed_interval_is_the_envelope_and_covers_where_students_does_not",
    ),
    Mutation(
        "a prediction takes the mean as known exactly",
        "analysis/statistics.py",
        "np.sqrt(1 + 1 / count)",
        "1.0",
        "test_analysis_statistics.py::test_the_prediction_interval_holds_one_more_value",
    ),
    Mutation(
        "a task votes on the value that is carried to it",
        "analysis/tuning.py",
        "total = np.where(known, means, 0.0).sum(-2, keepdims=True) - np.where(known, means, 0.0)",
        "total = np.where(known, means, 0.0).sum(-2, keepdims=True)",
        "test_analysis_question.py::test_what_is_carried_over_is_best_in_the_mean_over_the_other_tasks_that_have_it",
    ),
    Mutation(
        "a seed judges the value that it chose, too",
        "analysis/tuning.py",
        "np.delete(choose, seed, axis=-1) if pick is best_here else choose",
        "choose",
        "test_analysis_question.py::test_seeds_that_judge_never_choose",
    ),
    Mutation(
        "the spread of returns is that of their differences",
        "analysis/scale.py",
        "(by_run.diff() ** 2 / 2)",
        "(by_run.diff() ** 2)",
        "test_analysis_scale.py::test_the_spread_is_that_of_single_returns_of_the_untrained_policy",
    ),
    Mutation(
        "an arm has learned if its seeds have in the mean",
        "analysis/scale.py",
        '(several["min"] > low',
        '(several["mean"] > low',
        "test_analysis_scale.py::test_an_arm_has_learned_where_each_of_its_seeds_has",
    ),
    Mutation(
        "the noise of a mean is that of a single seed",
        "analysis/response.py",
        "np.where(count > 0, noise / count, np.nan)",
        "np.where(count > 0, noise, np.nan)",
        "test_response.py::test_the_noise_of_a_mean_is_that_of_its_seeds_over_their_number",
    ),
    Mutation(
        "a degree of freedom too many in the marginal likelihood",
        "analysis/response.py",
        "(f + r) / 2 * np.log1p(q / f)",
        "(f + r + 1) / 2 * np.log1p(q / f)",
        "test_response.py::test_marginal_likelihood_is_the_integral_over_level_height_and_scale",
    ),
    Mutation(
        "what two fits have in common is added to the variance of their ratio",
        "analysis/response.py",
        "pd.concat([one, -other], axis=1)",
        "pd.concat([one, other], axis=1)",
        "test_response.py::test_what_two_fits_have_in_common_is_paired",
    ),
    Mutation(
        "a family left out moves a mean as if it had stayed in",
        "analysis/response.py",
        "(grouped.sum() / (1 - share)) ** 2",
        "grouped.sum() ** 2",
        "test_response.py::test_an_interval_by_families_is_a_jackknife_over_them",
    ),
    # Questions
    Mutation(
        "a knob is as easy to choose if the lower end of the interval is below the bound",
        "analysis/question/spread.py",
        "(high < TWICE, low > NO_HARDER)",
        "(low < TWICE, low > NO_HARDER)",
        "test_analysis_question.py::test_the_rules_decide_by_the_interval",
    ),
    Mutation(
        "the scale of the advantages is read from all iterations",
        "analysis/question/unit.py",
        'data.curves["iteration"] < until',
        'data.curves["iteration"] < np.inf',
        "test_analysis_question.py::test_the_scale_of_the_advantages_is_read_from_the_first_ten_raw_iterations",
    ),
    Mutation(
        "the measured beta is a mean square, not its root",
        "analysis/question/mechanism.py",
        "np.log10(np.maximum(ends, 0.0)) / 2",
        "np.log10(np.maximum(ends, 0.0))",
        "test_analysis_question.py::test_the_measured_beta_is_read_against_the_mean_of_the_other_tasks_best",
    ),
    Mutation(
        "runs that only the second side of a contrast lacks are not missed",
        "analysis/question/__init__.py",
        '"command": first["command"].where(first["command"] != "", second["command"])',
        '"command": first["command"]',
        "test_analysis_question.py::test_a_verdict_is_refused_where_candidates_differ_or_runs_are_missing",
    ),
    Mutation(
        "a sample reads the runs of forks, too",
        "analysis/question/__init__.py",
        'keep = (runs["family"] == algorithm) & (runs["learned"] | sample.screened) & runs["fork"].isna()',
        'keep = (runs["family"] == algorithm) & (runs["learned"] | sample.screened)',
        "test_analysis_question.py::test_a_sample_has_neither_forks_nor_runs_of_another_protocol",
    ),
    Mutation(
        "the fall of a profile is not doubled",
        "analysis/question/fork.py",
        "np.sqrt(2 * (profile.max() - profile))",
        "np.sqrt(profile.max() - profile)",
        "test_analysis_question.py::test_the_mean_move_of_sharp_optima_is_normal_theory",
    ),
    Mutation(
        "Holm's correction is for contrasts of other rules, too",
        "analysis/question/__init__.py",
        "if own.question in counts and np.isfinite(own.p)]",
        "if np.isfinite(own.p)]",
        "test_analysis_question.py::test_verdicts_that_are_judged_together_stand_by_holms_correction",
    ),
    Mutation(
        "a fork is judged by its first half",
        "analysis/question/fork.py",
        'data.over_training("return_mean", parts=2)[:, 1]',
        'data.over_training("return_mean", parts=2)[:, 0]',
        "test_analysis_question.py::test_a_fork_is_scored_by_what_its_second_half_returns_above_its_first_rollout",
    ),
    Mutation(
        "a middle value counts as a large one",
        "analysis/question/interaction.py",
        "scores.iloc[:, -half:]",
        "scores.iloc[:, half:]",
        "test_analysis_question.py::test_a_value_in_the_middle_is_on_neither_side",
    ),
    Mutation(
        "an intersection-union test takes the smaller p",
        "analysis/question/interaction.py",
        "2 * np.maximum(above, below)",
        "2 * np.minimum(above, below)",
        "test_analysis_question.py::test_a_qualitative_interaction_is_where_both_intervals_exclude_zero_on_their_sides",
    ),
    Mutation(
        "clipping is read at every value of either side",
        "analysis/question/clipping.py",
        "zip(both, cells, cells[::-1])",
        "zip(both, cells, cells)",
        "test_analysis_question.py::test_clipping_is_read_at_the_values_that_both_were_run_at",
    ),
    Mutation(
        "a task that one side lacks altogether is no hole of the grid",
        "analysis/question/__init__.py",
        'product(words, set(every["x"])',
        'product(set(every["task"]), set(every["x"])',
        "test_analysis_question.py::test_leads_of_single_tasks_are_welchs_tests_with_holm",
    ),
    Mutation(
        "a verdict on single tasks stands where β had more candidates than δ",
        "analysis/question/task_by_task.py",
        "if counts[0] != counts[1] else",
        "if counts[0] > counts[1] else",
        "test_analysis_question.py::test_leads_of_single_tasks_are_welchs_tests_with_holm",
    ),
    Mutation(
        "tasks are tested as if both sides varied alike",
        "analysis/question/task_by_task.py",
        "stats.ttest_ind(ours, theirs, equal_var=False)",
        "stats.ttest_ind(ours, theirs, equal_var=True)",
        "test_analysis_question.py::test_leads_of_single_tasks_are_welchs_tests_with_holm",
    ),
    Mutation(
        "a value is carried to the unit that it was tuned in, too",
        "analysis/question/step.py",
        "apart = ~np.eye(units, dtype=bool)",
        "apart = np.ones((units, units), dtype=bool)",
        "test_analysis_question.py::test_a_value_is_carried_from_one_unit_of_reward_to_the_other_by_hand",
    ),
    Mutation(
        "the variance of a share of a score has the share",
        "analysis/question/one_value.py",
        "own[:, :, None] + share**2 * own[:, None, :]",
        "own[:, :, None] + share * own[:, None, :]",
        "test_one_value.py::test_p_of_one_pair_is_student_s",
    ),
    Mutation(
        "the drift within a run begins at its second fifth",
        "analysis/question/within_run.py",
        '"drift": own[:, -1] - own[:, 0]',
        '"drift": own[:, -1] - own[:, 1]',
        "test_analysis_question.py::test_how_far_the_scale_of_the_advantages_moves_within_a_run",
    ),
    Mutation(
        "a run that failed in one study counts so, though another one completed it",
        "analysis/data.py",
        'every_run.sort_values("failed", kind="stable").drop_duplicates("run_id")',
        'every_run.drop_duplicates("run_id")',
        "test_analysis_data.py::test_a_run_that_failed_in_one_study_counts_as_the_other_completed_it",
    ),
    # What others take
    Mutation(
        "a diverged run has returns of its own on the scale of the scores",
        "analysis/tidy.py",
        "returns[diverged] = floor[diverged]",
        "pass",
        "test_analysis_tidy.py::test_parts_of_training_for_rliable_are_returns_on_the_scale_of_the_scores",
    ),
    Mutation(
        "the cross-fitted beta of a part is the mean of signed roots",
        "analysis/tidy.py",
        "np.sign(square) * np.sqrt(np.abs(square))",
        "data.over_training(crossfit, parts).ravel()",
        "test_analysis_tidy.py::test_a_part_of_training_has_the_means_of_its_iterations",
    ),
    Mutation(
        "the runs of a matrix begin with the last seed",
        "analysis/tidy.py",
        'runs.sort_values(["task", "seed"])',
        'runs.sort_values(["task", "seed"], ascending=False)',
        "test_analysis_tidy.py::test_a_matrix_for_rliable_has_each_score_at_its_seed_and_task[score]",
    ),
    Mutation(
        "an archive takes what git does not have",
        "analysis/dataset.py",
        'if committed := _git(folder, "ls-files", "-z"):',
        "if committed := []:",
        "test_dataset.py::test_an_archive_has_the_committed_files_and_their_digests",
    ),
)


def places(mutation: Mutation) -> int:
    """How often the file has the old text."""
    return (ROOT / mutation.file).read_text().count(mutation.old)


def table(mutations=MUTATIONS) -> str:
    rows = []
    for own in mutations:
        file, test = own.test.partition("[")[0].split("::")
        rows.append(f"| {own.words} | `{own.file}` | `{test}` in `{file}` |")
    return "\n".join(["| mistake | in | found by |", "|---|---|---|", *rows]) + "\n"


def run(tests: list[str], tree: Path) -> tuple[int, str]:
    """pytest's exit status of some tests in a tree, and what it printed; in a process that has what they import."""
    said = tree / "said"
    if (child := os.fork()) == 0:
        os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        sys.dont_write_bytecode = True  # a file that changes twice in a second looks unchanged
        sys.path[:0] = [str(tree)]
        os.chdir(tree)
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1), os.dup2(output, 2)
        os._exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *(f"tests/{test}" for test in tests)]))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, said.read_text()


def caught(mutation: Mutation, tree: Path) -> bool:
    """Whether the test fails, and not because of something else, with the mutation made in the tree."""
    file = tree / mutation.file
    text = file.read_text()
    file.write_text(text.replace(mutation.old, mutation.new))
    try:
        status, said = run([mutation.test], tree)
    finally:
        file.write_text(text)
    return status == 1 and f"\nFAILED tests/{mutation.test}" in said


def main(words: list[str]) -> None:
    chosen = [own for own in MUTATIONS if not words or any(word in " ".join(own) for word in words)]
    for own in chosen:
        if (count := places(own)) != 1:
            sys.exit(f"{own.file} has {count} times, not once: {own.old!r} (tests/mutations.py)")
    for name in HEAVY:
        importlib.import_module(name)
    kept = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    survived = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in filter(None, kept.split("\0")):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
        status, said = run(list(dict.fromkeys(own.test for own in chosen)), tree)
        if status != 0:
            sys.exit(f"without any mutation a test does not pass:\n{said}")
        for own in chosen:
            found = caught(own, tree)
            print(f"{'caught' if found else 'SURVIVED'}: {own.words} ({own.file})", file=sys.stderr, flush=True)
            survived += [] if found else [own]
    print(table([own for own in chosen if own not in survived]), end="")
    sys.exit(f"{len(survived)} of {len(chosen)} survived" if survived else None)


if __name__ == "__main__":
    main(sys.argv[1:])
