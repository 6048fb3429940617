"""The columns of the results, with their units; `python -m study.record` prints results/README.md."""

RUNS = {
    "run_id": "hash of the run's resolved configuration",
    "task": "short name, with what differs from its file (environment arguments, backend, time limit)",
    "algorithm": "module in study/algorithm/",
    "arm": "algorithm with its numbers and whatever else differs from the defaults",
    "condition": "the part of arm that is not the algorithm's own",
    "overrides": "words of a command line that compose the run, but for seed and study, JSON",
    "beta": "penalty coefficient (the first one where it adapts); per nat, in units of the advantages",
    "kl_target": "target of an adaptive rule, nats",
    "max_kl": "constraint delta, nats",
    "clip_epsilon": "clipping range of the probability ratio",
    "seed": "seed of everything the run draws",
    "total_steps": "budget in environment steps; whole rollouts of it are run",
    "status": "complete, diverged (became non-finite and was frozen) or failed (raised)",
    "final_return": "mean undiscounted return of the last 100 episodes (all, if fewer ended)",
    "auc_return": "mean over iterations of return_mean, where an episode ended",
    "wall_seconds": "the run's share of its fleet's wall time, seconds",
    "fleet_runs": "runs in its fleet, which shared that time; null in studies older than the column",
    "environment": "packages and versions the environment comes from, and a digest of files that are the user's own; "
    "null in studies older than the column",
    "commit": "git commit of the code, with + if files had changed",
    "config": "resolved configuration, JSON",
}

CURVES = {
    "run_id": "as in runs.parquet",
    "iteration": "0, 1, ...",
    "env_steps": "environment steps taken when the iteration's update is done",
    "episodes": "episodes ended in this iteration",
    "return_mean": "mean undiscounted return of the episodes ended in this iteration; null if none",
    "return_last100": "mean undiscounted return of the last 100 ended episodes; null if none",
    "kl_after": "mean KL(old || new) over the full batch after the update, nats, summed over action dimensions",
    "kl_attempted": "the same for the full step, before any backtracking; kl_after where there is no line search",
    "kl_max": "largest KL(old || new) of a state of the batch after the update, nats; null in studies older than it",
    "kl_p99": "99th percentile of the same over the batch's states, nats",
    "surrogate_gain": "surrogate after the update minus before, in units of the advantages the algorithm sees",
    "entropy": "mean entropy of the new policy, nats",
    "beta": "penalty coefficient used in this update; null where there is none",
    "implied_beta": "sqrt(g^T F^-1 g / (2 delta)) before the update, per nat, in units of the advantages the "
    "algorithm sees; delta is max_kl where the arm has one, else diagnostics.max_kl",
    "implied_beta_crossfit": "the same from g_a^T F^-1 g_b of two half batches, a signed root: average sign(x) x^2",
    "sigma_advantage": "standard deviation of the raw advantages, in units of the scaled reward",
    "score_share": "R = sqrt(g^T F^-1 g / mean A^2), the share of the advantage that the score explains",
    "gradient_norm": "norm of the surrogate's gradient before the update",
    "cg_residual": "|g - F s| / |g| by the recursion of the conjugate gradients that gave implied_beta",
    "backtracks": "times the line search shortened the step; null where there is none",
    "accepted": "1 if the line search accepted a step, beta was solved for within its tolerance, or "
    "the fix-up left no state beyond its bound, else 0; null where there is none of these",
    "tries": "inner loops run to solve for beta; null where beta is not solved for",
    "learning_rate": "of the policy's optimizer after the update, where it adapts; null where it is constant",
    "temperature": "eta of the E-step's weights, in units of the advantages; null where there are no such weights",
    "fixup_steps": "gradient steps of the fix-up after the epochs; null where there is none",
    "epochs_run": "epochs before the KL stopped the run; null where there is no such stop",
    "clipped_share": "share of samples whose gradient is 0 by clipping, after the update; null where there is no clip",
    "explained_variance": "1 - Var(target - value) / Var(target) before the value fit",
    "value_loss": "mean squared error after the value fit, in squared units of the scaled reward",
    "max_ratio": "largest pi_new / pi_old among the batch's actions after the update",
}


def dtype(column: str) -> str:
    """How a column of curves.parquet is stored; what was computed in single precision stays so."""
    return {"run_id": "str", "iteration": "int32", "env_steps": "int64", "episodes": "int32"}.get(column, "float32")


def readme() -> str:
    """results/README.md."""

    def table(columns):
        rows = (f"| `{name}` | {meaning.replace('|', chr(92) + '|')} |" for name, meaning in columns.items())
        return "\n".join(["| column | meaning |", "|---|---|", *rows])

    return f"""# Results

Each study is a folder with two files of results and a README.md, whose head has its question, the commit of its
registration ("" where it was not registered), its date, and the sample of a question that it belongs to, if any.
Below it: question, rule and expectation, result, what it does not show, the record. `LOG.md` is an index by date,
`archive/` has studies that nothing reads any more. `python -m analysis results/NAME` makes a report of one,
`python -m analysis` that of all studies whose README.md has such a head and does not say
`complete: false`: those are still being trained.

## runs.parquet: one row per run

{table(RUNS)}

A number that an arm does not have is null.

## curves.parquet: one row per run and iteration

{table(CURVES)}
"""


if __name__ == "__main__":
    print(readme(), end="")
