"""Numbers and statements from the literature that the report faces, each with its source."""

from dataclasses import dataclass

# PPO, arXiv 1707.06347, Table 1: mean over 7 tasks x 3 seeds of the last 100 episodes' return,
# per task scaled to the random policy = 0 and the best result = 1.
PPO_TABLE_1 = {
    "unpenalised": -0.39,
    "clip clip_epsilon=0.1": 0.76,
    "clip clip_epsilon=0.2": 0.82,
    "clip clip_epsilon=0.3": 0.70,
    "kl_adaptive kl_target=0.003": 0.68,
    "kl_adaptive kl_target=0.01": 0.74,
    "kl_adaptive kl_target=0.03": 0.71,
    "kl_fixed beta=0.3": 0.62,
    "kl_fixed beta=1": 0.71,
    "kl_fixed beta=3": 0.72,
    "kl_fixed beta=10": 0.69,
}

PPO_PHI = 0.10  # sensitivity of PPO to four of its numbers, Adkins et al. 2024, arXiv 2412.07165


@dataclass(frozen=True)
class Evidence:
    """A published result that speaks against a claim.

    compare  two algorithms whose difference in this study belongs beside it, or None
    """

    title: str
    text: str
    compare: tuple | None


COUNTER_EVIDENCE = [
    Evidence(
        "The plateau of PPO’s Table 1",
        "Averaged over seven tasks, β = 1, 3 and 10 score 0.71, 0.72 and 0.69 (Schulman et al. 2017). The spread "
        "over β, 0.10, "
        "is smaller than that over ε, 0.12. The published averages do not show that a single β fails; only columns per "
        "task can.",
        ("kl_fixed", "clip"),
    ),
    Evidence(
        "A schedule without a constraint",
        "MDPO (Tomar et al. 2020, arXiv 2005.09814) anneals the weight of the KL term on a fixed schedule, solves no "
        "constraint, "
        "and reports more than TRPO on Ant (5211 ± 43 against 4682 ± 278), though less on Humanoid (3234 against "
        "4414) and "
        "Hopper (1964 against 2382).",
        ("kl_scheduled", "trpo"),
    ),
    Evidence(
        "Ties between clipping, fixed and adaptive β",
        "KLip-PPO (2026, arXiv 2606.23932) reports HalfCheetah 1955 ± 312, 2111 ± 1066 and 2207 ± 1117, and Hopper "
        "2598 ± 278, 2616 ± "
        "208 and 2236 ± 365, for clipping, fixed β = 1 and adaptive β. On Ant the fixed β fails (16 ± 16 against "
        "2193 ± 361), "
        "but so does the adaptive one (159 ± 86): a wrong β alone is not the reason there.",
        ("kl_adaptive", "clip"),
    ),
    Evidence(
        "The constraint is no guarantee either",
        "Lazic et al. (2021, arXiv 2102.06234) show that the constrained iteration may fail to converge even when "
        "each step is "
        "solved exactly, while regularisation improves the landscape.",
        ("kl_fixed", "trpo"),
    ),
]
