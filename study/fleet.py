"""A fleet: runs of one task, trained in lockstep as one batched program.

All that is the same for every algorithm (rollouts, advantages, diagnostics, the value fit, records) is done
for all runs at once; each policy update for the part of the fleet whose algorithm it is.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from study import compiler, fork, fused, value
from study.algorithm import page
from study.config import Config
from study.implied_beta import implied_beta
from study.objective import (
    change,
    entropy_gradient,
    fisher_vector_product,
    mean_entropy,
    surrogate_at,
    surrogate_gradient,
)
from study.policy import Family, Gaussian, Network, Policy, with_std
from study.record import CURVES
from study.rollout import (
    ADVANTAGES,
    Actor,
    Batch,
    Experience,
    Moments,
    RewardScale,
    Stream,
    actor,
    collect,
    gae,
    generator,
)
from study.settings import ConfigError
from study.sgd import Adam
from study.solver import where
from study.task import Copies


class Fleet:
    """What an update may use: the policy, the numbers that differ per run, and `each`.

    samples  environment steps to come, of all runs together; with many it pays to compile.
    """

    def __init__(self, configs: list[Config], policy: Policy, dtype=torch.float32, samples: int = 0):
        shared = configs[0]
        self.configs = configs
        self.policy = policy
        self.device = torch.device(shared.execution.device)
        self.dtype = dtype
        self.epochs, self.minibatch_size = shared.epochs, shared.minibatch_size
        self.iterations = shared.iterations
        self.optimizer, self.reset_optimizer = shared.optimizer, shared.reset_optimizer
        self.advantage_normalization = shared.advantage_normalization
        self.observation_clip = math.inf if shared.observation_clip is None else shared.observation_clip
        self.entropy_coefficient, self.value_clip = shared.entropy_coefficient, shared.value_clip
        self.diagnostics = shared.diagnostics
        self.gamma = self._stack([config.gamma for config in configs])
        self.learning_rate = self._stack([config.learning_rate for config in configs])
        bounds = [config.max_grad_norm or math.inf for config in configs]
        self.max_grad_norm = self._stack(bounds) if min(bounds) < math.inf else None
        self.value_learning_rate = self._stack([config.value_learning_rate for config in configs])
        self.settings = self._settings()
        self.fused = fused.serves(shared.execution.compile, self.device, dtype)
        self.compile = compiler.wanted(shared.execution.compile, samples, self.fused)
        self.unfused: set[Callable] = set()  # losses that use more than the network's outputs
        self.made: dict[tuple, Callable] = {}

    def _settings(self) -> SimpleNamespace | None:
        """The algorithm's numbers, floats as [R]; None if the runs have several algorithms."""
        if len({config.update_key for config in self.configs}) > 1:
            return None
        settings = SimpleNamespace()
        for name in type(self.configs[0].algorithm).model_fields:
            values = [getattr(config.algorithm, name) for config in self.configs]
            setattr(settings, name, self._stack(values) if isinstance(values[0], float) else values[0])
        return settings

    def anneal(self, iteration: int) -> None:
        """What falls linearly to 0 over the K iterations is multiplied by 1 - k / K in k = 0 ... K - 1."""
        shared, left = self.configs[0], 1 - iteration / self.iterations
        if shared.anneal_learning_rate:
            self.learning_rate = self._stack([left * config.learning_rate for config in self.configs])
            self.value_learning_rate = self._stack([left * config.value_learning_rate for config in self.configs])
        if shared.anneal_clip_range and self.settings is not None:
            self.settings.clip_epsilon = self._stack([left * c.algorithm.clip_epsilon for c in self.configs])

    def part(self, rows: slice) -> "Fleet":
        """The fleet of some of the runs; both share what is compiled."""
        configs = self.configs[rows]
        samples = len(configs) * self.iterations * configs[0].horizon
        part = Fleet(configs, self.policy, self.dtype, samples)
        if part.compile == self.compile:
            part.made = self.made
        return part

    def fisher(self, theta: Tensor, states: Tensor, damping: Tensor | float = 0.0) -> Callable[[Tensor], Tensor]:
        """v -> (F + damping) v at theta [R, P] over states [R, N, D], damping [R] or one for all; v [S, P] with S a
        multiple of R, row s at run s % R."""
        damping = torch.as_tensor(damping, dtype=theta.dtype, device=theta.device).expand(len(theta))
        if self.fused:
            return fused.Fisher(self.policy, theta, states, damping)

        def product(v):
            times = len(v) // len(theta)
            made = self.each(fisher_vector_product)(theta.repeat(times, 1), states.repeat(times, 1, 1), v)
            return made + damping.repeat(times).unsqueeze(-1) * v

        return product

    def surrogate_gradient(self, theta: Tensor, batch: Batch) -> Tensor:
        """g [R, P] at theta [R, P], of the surrogate with the entropy bonus where there is one."""
        g = self._gradient(surrogate_at, surrogate_gradient, theta, batch)
        if self.entropy_coefficient:
            g = g + self.entropy_coefficient * self._gradient(mean_entropy, entropy_gradient, theta, batch)
        return g

    def _gradient(self, of: Callable, eagerly: Callable, theta: Tensor, batch: Batch) -> Tensor:
        return fused.gradient(self, of, self.policy, theta, batch) if self.fused else self.each(eagerly)(theta, batch)

    def gain_and_kl(self, theta: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """From the batch's old policy to theta, [R] each: the objective's gain and the mean KL(old || new)."""
        made = self.each(change)(theta, batch)
        if not self.entropy_coefficient:
            return made.surrogate_gain, made.kl
        before = self.policy.family.entropy(batch.old).mean(-1)
        return made.surrogate_gain + self.entropy_coefficient * (made.entropy - before), made.kl

    def outputs(self, network: Network | Policy, theta: Tensor, observation: Tensor) -> Tensor:
        """The network, or the policy's phi, under theta [R, P] for observations [R, N, D]; not to be differentiated."""
        return fused.outputs(network, theta, observation) if self.fused else network(theta, observation)

    def actor(self, theta: Tensor, moments: Moments) -> Actor:
        """What acts under theta [R, P] while the moments of observations stand still."""
        make = fused.actor if self.fused else actor
        return make(self.policy, theta, moments.mean, moments.scale(), self.observation_clip)

    def fuses(self, loss: Callable) -> bool:
        return self.fused and loss not in self.unfused

    def _stack(self, values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=self.dtype, device=self.device)

    def tensor(self, x: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(x), dtype=self.dtype, device=self.device)

    def each(self, function: Callable, network: Any = None) -> Callable:
        """function(network, theta, ...) of one run, as a function of the whole fleet; made once.

        vmap over the first axis of every argument. Compiled where that pays: 57 -> 10 us per sample
        for ten epochs of a 64-64 network in a fleet of 20.
        """
        key = (function, network or self.policy)
        if key not in self.made:
            batched = torch.func.vmap(partial(function, key[1]))
            if self.compile:
                batched = in_blocks(compiler.compiled(batched, function.__qualname__))
            self.made[key] = fused.each(self, function, key[1], batched) if self.fused else batched
        return self.made[key]


def in_blocks(function: Callable, samples: int = 2048) -> Callable:
    """function(trees of [R, ...]) on a few runs at a time where arguments are [R, N, ...] with a large N.

    Activations then stay in a core's cache: a Fisher-vector product for 40 runs
    of 512 samples takes 1.1 us per sample instead of 1.6.
    """

    def blocked(*arguments):
        leaves, structure = tree_flatten(arguments)
        runs, size = len(leaves[0]), max([leaf.shape[1] for leaf in leaves if leaf.ndim > 2], default=0)
        blocks = -(-runs * size // samples)
        if size < 512 or blocks < 2 or leaves[0].device.type != "cpu":
            return function(*arguments)
        parts = zip(*(leaf.tensor_split(min(blocks, runs)) for leaf in leaves))
        made = [function(*tree_unflatten(list(part), structure)) for part in parts]
        return tree_map(lambda *parts: torch.cat(parts), *made)

    return blocked


@dataclass(frozen=True)
class Rollout:
    batch: Batch  # fields [R, N, ...]
    order: Tensor  # [R, epochs, N] the samples in the order of the minibatches

    def part(self, rows: slice) -> "Rollout":
        return Rollout(tree_map(lambda field: field[rows], self.batch), self.order[rows])


@dataclass
class Part:
    """Runs of a fleet that are updated together: consecutive rows of one algorithm."""

    rows: slice
    page: Any  # the algorithm's module (study.algorithm)
    fleet: Fleet
    state: Any  # the algorithm's, a tree of [R, ...]


@dataclass(frozen=True)
class Result:
    """One finished run."""

    config: Config
    status: str  # complete | diverged | failed
    final_return: float
    auc_return: float
    wall_seconds: float  # its share of the fleet's time
    fleet_runs: int  # how many shared it
    curves: pd.DataFrame | None  # the columns of record.CURVES; None for a failed run
    environment: str  # packages and versions it comes from
    cause: str = ""  # of a diverged run: what was not finite first


def finite(tree: Any, runs: int | None = None) -> np.ndarray:
    """[R] bool: which runs of a tree of [R, ...] are finite throughout."""
    leaves, _ = tree_flatten(tree)
    if not leaves:
        return np.ones(runs, bool)
    return torch.stack([leaf.reshape(len(leaf), -1).isfinite().all(1) for leaf in leaves]).all(0).cpu().numpy()


class Episodes:
    """Undiscounted returns of the episodes of each run, by the task's own rewards."""

    def __init__(self, runs: int):
        self.open_return = np.zeros(runs)
        self.last = [deque(maxlen=100) for _ in range(runs)]

    def add(self, reward: np.ndarray, ended: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Episodes ended, their mean return, and the mean of the last 100, [R] each; NaN where none."""
        count, mean, last = np.zeros(len(reward)), np.full(len(reward), np.nan), np.full(len(reward), np.nan)
        for run, ends in enumerate(ended):
            at = np.flatnonzero(ends)
            total = self.open_return[run] + reward[run].cumsum()
            returns = np.diff(total[at], prepend=0)
            self.open_return[run] = total[-1] - (total[at[-1]] if len(at) else 0)
            self.last[run].extend(returns.tolist())  # plain numbers: checkpoints hold nothing else
            count[run] = len(at)
            if len(at):
                mean[run] = returns.mean()
            if self.last[run]:
                last[run] = np.mean(self.last[run])
        return count, mean, last


def _cause(experience: Experience, run: int) -> str:
    """What of a run's experience was not finite."""
    after = experience.next_observation[run][~experience.terminated[run]]
    if not np.isfinite(experience.reward[run]).all():
        return "the environment gave non-finite rewards"
    if not (np.isfinite(experience.observation[run]).all() and np.isfinite(after).all()):
        return "the environment gave non-finite observations"
    return "by its own update"


class Trainer:
    """The state of a fleet in training, and the training loop."""

    def __init__(self, configs: list[Config], dtype: torch.dtype = torch.float32, points: list[dict] | None = None):
        """points: of forks, where each run's source was (fork.point)."""
        keys = {config.fleet_key for config in configs}
        if len(keys) != 1:
            raise ValueError(f"a fleet needs one fleet_key, got {sorted(keys)}")
        self.configs, self.config = configs, configs[0]
        runs = len(configs)

        copies = self._copies(chapter=0)
        self._check_std(copies.family)
        family = with_std(copies.family, self.config.state_dependent_std)
        policy = Policy.make(copies.observation_size, family, self.config.hidden, self.config.activation)
        self.copies = copies
        self.critic = Network((copies.observation_size, *self.config.hidden, 1), self.config.activation)
        samples = runs * self.config.iterations * self.config.horizon
        self.fleet = Fleet(configs, policy, dtype, samples)

        rngs = [generator(config.seed, Stream.PARAMETERS) for config in configs]
        kind, log_std = self.config.initialization, self.config.initial_log_std
        theta = [(policy.initial(rng, kind, log_std), self.critic.initial(rng, 1.0, kind)) for rng in rngs]
        self.theta, self.critic_theta = (torch.stack(one).to(self.fleet.device, dtype) for one in zip(*theta))
        self.parts = list(self._parts())
        self.critic_adam = Adam.start(self.critic_theta)
        self.moments = Moments(runs, (copies.observation_size,))
        self.reward_scale = RewardScale(runs)
        self.episodes = Episodes(runs)
        self.alive = np.ones(runs, bool)
        self.causes = [""] * runs  # of what is not alive
        self.iteration = 0
        self.seconds = np.zeros(runs)  # each run's share of the time so far
        self.rows: dict[str, list[np.ndarray]] = {}

        self.gamma = np.array([config.gamma for config in configs])
        self.gae_lambda = np.array([config.gae_lambda for config in configs])
        self.reward_factor = np.array([config.reward_scale for config in configs])[:, None]
        max_kl = [getattr(config.algorithm, "max_kl", self.config.diagnostics.max_kl) for config in configs]
        self.max_kl = self.fleet._stack(max_kl)
        self.origin = 0  # iterations of the source before the first of a fork
        if self.config.fork is not None:
            self.origin = -(-self.config.fork.at // self.config.horizon)
            fork.begin(self, points)

    def _check_std(self, family: Family) -> None:
        if isinstance(family, Gaussian):
            return
        for name in ("initial_log_std", "state_dependent_std"):
            if value := getattr(self.config, name):
                task = self.config.task.id
                raise ConfigError(f"{name}={str(value).lower()}: is of a Gaussian, but task.id={task} is discrete")

    def _parts(self) -> Iterator[Part]:
        start = 0
        for _, configs in groupby(self.configs, lambda config: config.update_key):
            configs = list(configs)
            rows = slice(start, start + len(configs))
            start = rows.stop
            fleet, algorithm = self.fleet.part(rows), page(configs[0].algorithm.name, configs[0].algorithm.module)
            yield Part(rows, algorithm, fleet, algorithm.start(fleet, self.theta[rows]))

    def _copies(self, chapter: int) -> Copies:
        chapter += getattr(self, "origin", 0)
        seeds = [int(generator(c.seed, Stream.ENVIRONMENT, chapter).integers(2**31)) for c in self.configs]
        return Copies(self.config.task, seeds)

    def train(self, report: Callable | None = None) -> list[Result]:
        """To the end of the budget. report(trainer) is called after every iteration; it may raise to stop."""
        try:
            while self.iteration < self.config.iterations and self.alive.any():
                began = time.perf_counter()
                if self.iteration % self.config.chapter == 0:
                    self._open_chapter()
                self._iterate()
                # The time of updates is counted in _update
                self.seconds += (time.perf_counter() - began - self._updating) / len(self.configs)
                if report is not None:
                    report(self)
        finally:
            self.copies.close()
        return [self._result(run) for run in range(len(self.configs))]

    def _open_chapter(self) -> None:
        """New environments from (seed, chapter); open episodes were cut off, and bootstrapped, just before."""
        if self.iteration > 0:
            self.copies.close()
            self.copies = self._copies(self.iteration // self.config.chapter)
        self.observation = self.copies.reset()
        self.episodes.open_return[:] = 0
        self.reward_scale.open_return[:] = 0

    def _iterate(self) -> None:
        fleet, before = self.fleet, self._learned()

        # Rollout
        horizon, policy = self.config.horizon, fleet.policy
        noise = np.stack([policy.family.noise(self._rng(c, Stream.NOISE), horizon) for c in self.configs])
        act = fleet.actor(self.theta, self.moments)
        with self.copies.rollout():
            experience, self.observation = collect(self.copies, self.observation, act, noise, self.alive)
        ended = experience.terminated | experience.truncated
        count, return_mean, return_last100 = self.episodes.add(experience.reward, ended)
        reward = self.reward_factor * experience.reward
        if self.config.reward_scaling:
            self.reward_scale.update(reward, ended, self.gamma)
            reward = self.reward_scale(reward)
        if self.config.reward_clip is not None:
            reward = reward.clip(-self.config.reward_clip, self.config.reward_clip)
        first = not self.moments.count.any()
        # An initial policy that nearly ignores observations has its batch standardised by the batch's own statistics.
        first = first and self.config.initialization == "orthogonal"
        normalised = self.config.observation_normalization  # else the moments stay 0 and 1
        if first and normalised:
            self.moments.update(experience.observation)
        seen, after = experience.observation, experience.next_observation
        observation, next_observation = (
            fleet.tensor(self.moments.standardise(x, fleet.observation_clip, fleet.dtype)) for x in (seen, after)
        )
        if normalised and not first:
            self.moments.update(experience.observation)

        # Advantages
        estimate = fleet.outputs(self.critic, self.critic_theta, observation).squeeze(-1)
        following = fleet.outputs(self.critic, self.critic_theta, next_observation).squeeze(-1)
        raw = gae(
            reward,
            estimate.cpu().double().numpy(),
            following.cpu().double().numpy(),
            experience.terminated,
            experience.truncated,
            self.gamma,
            self.gae_lambda,
        )
        raw_advantage = fleet.tensor(raw)
        target = raw_advantage + estimate
        action, old = fleet.tensor(experience.action), fleet.outputs(policy, self.theta, observation)
        batch = Batch(
            observation,
            action,
            old,
            policy.family.log_prob(old, action),
            ADVANTAGES[self.config.advantage_normalization](raw_advantage),
        )
        rngs = [self._rng(config, Stream.ORDER) for config in self.configs]
        order = np.stack([[rng.permutation(horizon) for _ in range(fleet.epochs)] for rng in rngs])
        rollout = Rollout(batch, torch.as_tensor(order, device=fleet.device))

        # Policy update
        for each in (fleet, *(part.fleet for part in self.parts)):
            each.anneal(self.iteration)
        implied = implied_beta(fleet, self.theta, batch, self.max_kl)
        metrics = self._update(rollout)
        changed = fleet.each(change)(self.theta, batch)

        # Value fit
        targets = value.Targets(observation, target)
        self.critic_theta, self.critic_adam = value.fit(
            fleet, self.critic, self.critic_theta, self.critic_adam, targets, rollout.order
        )

        fitted = fleet.outputs(self.critic, self.critic_theta, observation).squeeze(-1)

        # Record
        self._freeze_broken(before, experience)
        self.iteration += 1
        self._record(
            {
                "env_steps": np.full(len(self.configs), self.iteration * horizon),
                "episodes": count,
                "return_mean": return_mean,
                "return_last100": return_last100,
                "kl_after": changed.kl,
                "kl_attempted": changed.kl,
                "kl_max": changed.state_kl.amax(-1),
                "kl_p99": changed.state_kl.quantile(0.99, -1),
                "surrogate_gain": changed.surrogate_gain,
                "entropy": changed.entropy,
                "sigma_advantage": raw_advantage.std(-1, correction=0),
                "explained_variance": value.explained_variance(estimate, target),
                "value_loss": (fitted - target).square().mean(-1),
                "max_ratio": changed.max_ratio,
            }
            | implied._asdict(),
            metrics,
        )

    def _update(self, rollout: Rollout) -> list[dict]:
        """Each part's policies by its own algorithm; returns what those report."""
        thetas, metrics, self._updating = [], [], 0.0
        for part in self.parts:
            began = time.perf_counter()
            theta = self.theta[part.rows].clone()  # a view would be compiled apart
            theta, part.state, made = part.page.update(part.fleet, theta, part.state, rollout.part(part.rows))
            thetas.append(theta)
            metrics.append(made)
            seconds = time.perf_counter() - began
            self.seconds[part.rows] += seconds / len(part.fleet.configs)
            self._updating += seconds
        self.theta = torch.cat(thetas)
        return metrics

    def _rng(self, config: Config, stream: int) -> np.random.Generator:
        return generator(config.seed, stream, self.origin + self.iteration)

    def _learned(self) -> tuple:
        states = tuple(part.state for part in self.parts)
        return self.theta, self.critic_theta, self.critic_adam, states

    def _restore(self, learned: tuple) -> None:
        self.theta, self.critic_theta, self.critic_adam, states = learned
        for part, state in zip(self.parts, states):
            part.state = state

    def _freeze_broken(self, before: tuple, experience: Experience) -> None:
        """A run with anything non-finite goes back to before the update and stays there, marked."""
        was = self.alive.copy()
        (*whole, states), (*whole_before, states_before) = self._learned(), before
        self.alive &= np.isfinite(self.moments.mean).all(1) & np.isfinite(self.reward_scale.moments.variance)
        self.alive &= finite(whole)
        for part, state in zip(self.parts, states):
            self.alive[part.rows] &= finite(state, len(part.fleet.configs))
        if self.alive.all():
            return  # saves time only
        alive = torch.as_tensor(self.alive, device=self.fleet.device)
        states = tuple(where(alive[p.rows], new, old) for p, new, old in zip(self.parts, states, states_before))
        self._restore((*where(alive, whole, whole_before), states))
        for run in np.flatnonzero(was & ~self.alive):
            self.causes[run] = _cause(experience, run)

    def _record(self, common: dict, own: list[dict]) -> None:
        """A row per run: common [R], and over it what each part's algorithm reports of its own runs."""

        def plain(metric):
            return metric.detach().cpu().double().numpy() if isinstance(metric, Tensor) else metric

        for name in CURVES.keys() - {"run_id", "iteration"}:
            column = np.array(plain(common.get(name, np.full(len(self.configs), np.nan))), dtype=float)
            for part, metrics in zip(self.parts, own):
                if name in metrics:
                    column[part.rows] = plain(metrics[name])
            self.rows.setdefault(name, []).append(column)
        self.rows.setdefault("alive", []).append(self.alive.copy())

    def latest(self, column: str) -> np.ndarray:
        """The last recorded [R] values of a column."""
        return self.rows[column][-1]

    def _result(self, run: int) -> Result:
        alive = np.array([alive[run] for alive in self.rows["alive"]])
        rows = len(alive) if alive.all() else int(alive.argmin()) + 1  # the row that broke is the last one kept
        columns = {
            name: np.array([values[run] for values in self.rows[name][:rows]]) for name in CURVES if name in self.rows
        }
        columns |= {name: columns[name].astype(np.int64) for name in ("env_steps", "episodes")}
        curves = pd.DataFrame({"run_id": self.configs[run].run_id, "iteration": np.arange(rows)} | columns)
        returns = curves["return_mean"].dropna()
        return Result(
            self.configs[run],
            "complete" if self.alive[run] else "diverged",
            float(curves["return_last100"].iloc[-1]),
            float(returns.mean()) if len(returns) else float("nan"),
            float(self.seconds[run]),
            len(self.configs),
            curves,
            self.copies.origin,
            self.causes[run],
        )

    # The state at a chapter's boundary, where no environment is open: tensors, arrays as tensors, and numbers.

    def state(self) -> dict:
        arrays = {name: np.array(values, dtype=float) for name, values in self.rows.items()}
        return {
            "iteration": self.iteration,
            "seconds": torch.from_numpy(self.seconds),
            "learned": tree_flatten(self._learned())[0],
            "arrays": tree_map(torch.from_numpy, self._statistics()),
            "last": [torch.tensor(list(last), dtype=torch.float64) for last in self.episodes.last],
            "alive": torch.from_numpy(self.alive),
            "causes": list(self.causes),
            "rows": tree_map(torch.from_numpy, arrays),
        }

    def go_on_from(self, state: dict) -> None:
        self.iteration, self.seconds = state["iteration"], state["seconds"].numpy()
        structure = tree_flatten(self._learned())[1]
        self._restore(tree_unflatten([leaf.to(self.fleet.device) for leaf in state["learned"]], structure))
        for moments, held in zip((self.moments, self.reward_scale.moments), state["arrays"]):
            for name, array in held.items():
                setattr(moments, name, array.numpy())
        self.episodes.last = [deque(last.tolist(), maxlen=100) for last in state["last"]]
        self.alive, self.causes = state["alive"].numpy(), state["causes"]
        self.rows = {
            name: [row.astype(bool) if name == "alive" else row for row in values.numpy()]
            for name, values in state["rows"].items()
        }

    def _statistics(self) -> list[dict]:
        return [dict(vars(moments)) for moments in (self.moments, self.reward_scale.moments)]
