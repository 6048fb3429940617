"""Numbers from the literature, each with its source."""

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
