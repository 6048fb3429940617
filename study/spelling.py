"""Names that people bring along from papers and other libraries, and what is called so here."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

# Key here -> what papers, stable-baselines3, sb3-contrib, CleanRL, Tianshou, RLlib, skrl and Spinning Up call it
OTHERS = {
    "max_kl": "delta kl_delta max_kl_step trust_region trust_region_size kl_limit kl_constraint kl_max d_kl target_kl",
    "kl_target": "target kl_targ d_targ dtarg desired_kl kl_threshold",
    "clip_epsilon": "epsilon eps clip clip_range clip_ratio clip_coef clip_param eps_clip ratio_clip cliprange",
    "kl_bound": "epsilon eps",
    "beta": "kl_coef kl_coeff kl_penalty kl_weight kl_beta kl_loss_scale penalty penalty_coef coef lam multiplier",
    "damping": "cg_damping damping_coeff fisher_damping",
    "cg_iterations": "cg_iters cg_max_steps cg_steps conjugate_gradient_steps max_cg_iterations n_cg",
    "backtracks": "backtrack_iters max_backtracks line_search_max_iter line_search_steps ls_steps",
    "fisher_stride": "sub_sampling_factor fvp_subsampling subsampling",
    "step_size": "dual_lr multiplier_lr",
    "learning_rate": "lr pi_lr policy_lr actor_lr alpha step_size stepsize lr_policy",
    "value_learning_rate": "vf_lr value_lr critic_lr v_lr lr_value lr_critic vf_stepsize",
    "horizon": "n_steps num_steps nsteps steps_per_epoch steps_per_iteration rollout_length rollout_steps "
    "timesteps_per_batch train_batch_size rollouts unroll_length",
    "minibatch_size": "batch_size mini_batch_size sgd_minibatch_size minibatch mb_size",
    "epochs": "n_epochs num_epochs update_epochs k_epochs num_sgd_iter train_pi_iters noptepochs optim_epochs",
    "gae_lambda": "gae lambda lambda_ lam gae_lam",
    "gamma": "discount discount_factor",
    "total_steps": "timesteps total_timesteps num_timesteps n_timesteps max_timesteps max_steps total_env_steps "
    "env_steps steps frames total_frames num_env_steps",
    "max_grad_norm": "grad_clip clip_grad gradient_clip grad_clip_norm gradient_clipping grad_norm_clip",
    "hidden": "hidden_sizes hidden_size net_arch layers network hidden_layers hidden_units fcnet_hiddens",
    "advantage_normalization": "normalize_advantage norm_adv normalise_advantage normalize_advantages adv_norm",
    "reward_scaling": "norm_reward normalize_reward reward_normalization",
    "reward_scale": "reward_factor",
    "anneal_learning_rate": "anneal_lr lr_decay lr_schedule learning_rate_schedule linear_lr_schedule lr_annealing",
    "entropy_coefficient": "ent_coef entropy_coef entropy_coeff entropy_bonus ent_weight entropy_beta entcoeff",
    "value_clip": "clip_range_vf clip_vloss vf_clip vf_clip_param value_clipping clip_value_loss cliprange_value",
    "activation": "activation_fn nonlinearity activations",
    "initialization": "initialisation ortho_init orthogonal_init init weight_init init_type orthogonal_initialization",
    "observation_normalization": "norm_obs normalize_observations normalize_obs obs_norm normalise_observations",
    "observation_clip": "clip_obs obs_clip clip_observations observation_clipping",
    "initial_log_std": "log_std_init init_log_std initial_std log_std action_std_init",
    "state_dependent_std": "state_dependent_log_std state_dependent_sigma use_state_dependent_std",
    "anneal_clip_range": "anneal_clip clip_decay clip_schedule",
    "reward_clip": "clip_reward clip_rewards clip_rew reward_clipping",
    "optimizer": "optim optimiser",
    "seed": "random_seed rng_seed seeds",
    "id": "env env_id env_name environment gym_id",
    "max_episode_steps": "time_limit episode_length max_ep_len max_episode_length horizon_limit",
    "kwargs": "env_kwargs env_args env_config",
    "workers": "n_jobs num_workers n_workers processes jobs num_cpu",
    "device": "cuda gpu accelerator",
    "results": "output output_dir out results_dir log_dir logdir save_dir",
    "compile": "torch_compile jit",
    "tracker": "tensorboard wandb trackio logger track report_to wandb_project",
    "cluster": "slurm scheduler",
    "policies": "save_model save_models save_policy save_policies keep_policies model checkpoint checkpoints",
    "dry_run": "dryrun dry",
    "name": "exp_name experiment_name study run_name",
    "algorithm": "algo alg agent method",
    "task": "env env_id environment env_name",
}
ALIASES: dict[str, tuple[str, ...]] = {}
for _name, _others in OTHERS.items():
    for _other in _others.split():
        ALIASES[_other] = (*ALIASES.get(_other, ()), _name)

# What is no setting, and why
NONE = {
    **dict.fromkeys(
        "vf_coef value_coef vf_loss_coeff value_loss_coef critic_coef".split(),
        "the value network has a loss and an optimizer of its own (value_learning_rate)",
    ),
    **dict.fromkeys(
        "n_envs num_envs nenv num_env n_env".split(), "a run steps one environment; runs are trained in fleets"
    ),
}

ALGORITHMS = {
    "ppo": "clip",
    "ppo_clip": "clip",
    "ppo2": "clip",
    "ppo_penalty": "kl_adaptive",
    "ppo_kl": "kl_adaptive",
    "ppo_fixed": "kl_fixed",
    "penalty": "kl_fixed",
    "kl": "kl_fixed",
    "kl_penalty": "kl_fixed",
    "mdpo": "kl_scheduled",
    "npg": "natural_gradient",
    "tnpg": "natural_gradient",
    "natural_policy_gradient": "natural_gradient",
    "spo": "simple_policy_optimization",
    "klip_ppo": "kl_per_sample",
    "v_mpo": "vmpo",
    "trpl": "projection",
    "early_stopping": "kl_stop",
    "vpg": "unpenalised",
    "pg": "unpenalised",
    "unpenalized": "unpenalised",
}


def likely(key: str, known: Iterable[str]) -> list[str]:
    """Those of the known keys, with dots, that `key` may stand for; first those of its own group, none if none is near.

    The same last word elsewhere, then another library's name, then a misspelling.
    """
    known = list(dict.fromkeys(known))
    group, _, last = key.rpartition(".")
    word = last.lower().replace("-", "_")
    last_words = [each.rpartition(".")[2] for each in known]
    own = [name for each, name in zip(known, last_words) if each.rpartition(".")[0] == group]
    tries = ([word], ALIASES.get(word, ()), get_close_matches(word, own, 1), get_close_matches(word, last_words, 1))
    for names in tries:
        for where in (lambda each: each.rpartition(".")[0] == group, lambda each: True):
            found = [each for name in names for each in known if each.rpartition(".")[2] == name and where(each)]
            if found:
                return found
    return []


def option(name: str, options: Sequence[str]) -> str | None:
    """The option of a group that is meant."""
    word = name.lower().replace("-", "_")
    if word in options or ALGORITHMS.get(word) in options:
        return word if word in options else ALGORITHMS[word]
    close = get_close_matches(word, options, 1)
    return close[0] if close else None


def environment(name: str) -> str | None:
    """The id of Gymnasium's or EnvPool's that is meant, the latest where no version is given."""
    import gymnasium

    from study import simulators

    if ":" in name:  # module:Id
        return name
    ids = sorted({*gymnasium.registry, *simulators.envpool().list_all_envs()})
    same = [each for each in ids if each.lower() == name.lower()]
    if not same and "-v" not in name:
        same = [each for each in ids if each.lower().rpartition("-v")[0] == name.lower()]
    if not same and "-v" in name:
        same = get_close_matches(name, ids, 1, 0.85)
    return max(same, key=lambda each: int("0" + each.rpartition("-v")[2]) if "-v" in each else 0) if same else None
