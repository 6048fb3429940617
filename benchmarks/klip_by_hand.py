"""KLip-PPO's CartPole by hand, with what `klip_ppo` departs from taken back.

Some of its departures are in how a run is made, and no setting takes them back: there the policy and the value share
minibatches, one Adam and one bound of the gradient. So this is a second program, a plain loop over torch's optimisers,
for the three arms and five seeds at once. It prints a row for each run: its way, arm, seed (a number for each of five
independent runs), and the mean return over the last tenth of training.

    python benchmarks/klip_by_hand.py > results/klip_ppo_again/by_hand.csv
"""

import math
import sys

import gymnasium
import numpy as np
import torch
from torch import nn

STEPS, BATCH, EPOCHS, MINIBATCH = 100_000, 512, 10, 64
GAMMA, LAMBDA, RATE, BOUND, VALUE_CLIP, VALUE_WEIGHT = 0.99, 0.95, 3e-4, 0.5, 0.2, 0.5
CLIP, BETA, TARGET, SEEDS = 0.2, 1.0, 0.02, range(5)
ARMS = ("clip", "kl_fixed", "kl_adaptive")
RUNS = [(arm, seed) for arm in ARMS for seed in SEEDS]
WAYS = {  # what a way has of theirs
    "ours": (),
    "shared": ("shared",),  # minibatches, Adam and the bound of the gradient are of policy and value together
    "raw": ("raw",),  # observations as they are
    "four": ("four",),  # four environments of 128 steps, not one of 512
    "theirs": ("shared", "raw", "four"),
}


def network(outputs, gain):
    """[weight [R, in, out], bias [R, 1, out], ...] of all runs: orthogonal weights."""
    made = []
    for inputs, width, scale in ((4, 64, 2**0.5), (64, 64, 2**0.5), (64, outputs, gain)):
        weights = [nn.init.orthogonal_(torch.empty(width, inputs), scale).T for _ in RUNS]
        made += [torch.stack(weights).requires_grad_(), torch.zeros(len(RUNS), 1, width, requires_grad=True)]
    return made


def forward(parameters, x):
    """[R, n, outputs] of x [R, n, 4]."""
    for weight, bias in zip(parameters[0:-2:2], parameters[1:-2:2]):
        x = torch.tanh(torch.baddbmm(bias, x, weight))
    return torch.baddbmm(parameters[-1], x, parameters[-2])


class Seen:
    """Observations [R, n, 4] less a run's running mean, over their standard deviation, within 10; or as they are."""

    def __init__(self, raw):
        self.raw, self.count = raw, 0
        self.mean, self.square = np.zeros((len(RUNS), 1, 4)), np.ones((len(RUNS), 1, 4))

    def update(self, x):
        share = x.shape[1] / (self.count + x.shape[1])
        self.mean = (1 - share) * self.mean + share * x.mean(1, keepdims=True)
        self.square = (1 - share) * self.square + share * (x**2).mean(1, keepdims=True)
        self.count += x.shape[1]

    def __call__(self, x):
        if not self.raw and self.count:
            x = ((x - self.mean) / np.sqrt(self.square - self.mean**2 + 1e-8)).clip(-10, 10)
        return torch.as_tensor(x, dtype=torch.float32)


def advantages(reward, value, following, terminated, ended):
    """Generalised advantage estimates, all [T, ...]; following: the value of the true next observation."""
    delta = reward + GAMMA * following * ~terminated - value
    made, last = np.empty_like(delta), 0.0
    for t in reversed(range(len(delta))):
        made[t] = last = delta[t] + GAMMA * LAMBDA * ~ended[t] * last
    return made


def policy_loss(beta, logits, old, action, advantage):
    """The sum over runs, which share no parameter; five of each arm, in the order of RUNS."""
    new = torch.log_softmax(logits, -1)
    ratio = (new - old).gather(-1, action[..., None]).squeeze(-1).exp()
    kept, five = ratio.clamp(1 - CLIP, 1 + CLIP), len(SEEDS)
    clipped = torch.minimum(ratio * advantage, kept * advantage)[:five].mean(-1)
    penalised = (ratio * advantage - beta[:, None] * (old.exp() * (old - new)).sum(-1))[five:].mean(-1)
    return -clipped.sum() - penalised.sum()


def value_loss(value, before, target):
    kept = before + (value - before).clamp(-VALUE_CLIP, VALUE_CLIP)
    return 0.5 * torch.maximum((value - target) ** 2, (kept - target) ** 2).mean(-1).sum()


def bound(parameters):
    """Each run's gradient is scaled down to BOUND."""
    squares = sum(own.grad.flatten(1).square().sum(1) for own in parameters)
    factor = (BOUND / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    for own in parameters:
        own.grad *= factor.view(-1, 1, 1)


def minibatches(*fields):
    """Each of `fields` [R, BATCH, ...] at the same samples, which each run draws for itself."""
    for _ in range(EPOCHS):
        for part in torch.rand(len(RUNS), BATCH).argsort(-1).split(MINIBATCH, -1):
            rows = torch.arange(len(RUNS))[:, None]
            yield [own[rows, part] for own in fields]


def descend(optimiser, loss, bounded):
    optimiser.zero_grad()
    loss.backward()
    if bounded:
        bound(bounded)
    optimiser.step()


def train(has):
    """[R] the mean return of a rollout's episodes, over the last tenth of training; has: of WAYS."""
    torch.manual_seed(0)
    runs, environments, updates = len(RUNS), 4 if "four" in has else 1, STEPS // BATCH
    policy, critic, seen = network(2, 0.01), network(1, 1.0), Seen("raw" in has)
    groups = [[*policy, *critic]] if "shared" in has else [policy, critic]
    optimisers = [torch.optim.Adam(group, RATE, eps=1e-5) for group in groups]
    least, most = (1e-4, 1e4) if "shared" in has else (2.0**-40, 2.0**40)  # of beta
    beta, adaptive = torch.full((runs,), BETA), torch.tensor([arm == "kl_adaptive" for arm, _ in RUNS])
    same_step = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
    envs = gymnasium.make_vec("CartPole-v1", runs * environments, "sync", vector_kwargs=same_step)
    observation, _ = envs.reset(seed=0)
    running, means = np.zeros(runs * environments), np.full((updates, runs), math.nan)

    def by_run(x):
        """[R, BATCH, ...] of [T, R * environments, ...], environments within time."""
        x = np.stack(x)
        return np.swapaxes(x.reshape(len(x), runs, environments, *x.shape[2:]), 0, 1).reshape(runs, BATCH, *x.shape[2:])

    for update in range(updates):
        for optimiser in optimisers:
            optimiser.param_groups[0]["lr"] = RATE * (1 - update / updates)
        steps, returns = [], [[] for _ in RUNS]
        for _ in range(BATCH // environments):
            with torch.no_grad():
                logits = forward(policy, seen(observation.reshape(runs, environments, 4)))
                action = torch.distributions.Categorical(logits=logits).sample().numpy().reshape(-1)
            before = observation
            observation, reward, terminated, truncated, info = envs.step(action)
            ended, after = terminated | truncated, observation.copy()
            running += reward
            for own in np.flatnonzero(ended):
                after[own] = info["final_obs"][own]
                returns[own // environments].append(running[own])
            running[ended] = 0
            steps.append((before, after, action, reward, terminated, ended))
        means[update] = [np.mean(own) if own else math.nan for own in returns]
        before, after, action, reward, terminated, ended = map(by_run, zip(*steps))
        if not update:  # the first policy hardly depends on observations
            seen.update(before)
        x, following = seen(before), seen(after)
        if update:
            seen.update(before)
        with torch.no_grad():
            old = torch.log_softmax(forward(policy, x), -1)
            value, next_value = (forward(critic, own).squeeze(-1) for own in (x, following))

        def in_time(own):
            return np.moveaxis(np.asarray(own).reshape(runs, -1, environments), 1, 0)

        estimate = advantages(*map(in_time, (reward, value, next_value, terminated, ended)))
        advantage = torch.as_tensor(np.moveaxis(estimate, 0, 1).reshape(runs, BATCH), dtype=torch.float32)
        target, action = advantage + value, torch.as_tensor(action)
        advantage = (advantage - advantage.mean(-1, keepdim=True)) / (advantage.std(-1, keepdim=True) + 1e-8)
        if "shared" in has:
            for x1, old1, a, adv, v, goal in minibatches(x, old, action, advantage, value, target):
                loss = policy_loss(beta, forward(policy, x1), old1, a, adv)
                loss = loss + VALUE_WEIGHT * value_loss(forward(critic, x1).squeeze(-1), v, goal)
                descend(optimisers[0], loss, groups[0])
        else:
            for x1, old1, a, adv in minibatches(x, old, action, advantage):
                descend(optimisers[0], policy_loss(beta, forward(policy, x1), old1, a, adv), policy)
            for x1, v, goal in minibatches(x, value, target):
                descend(optimisers[1], value_loss(forward(critic, x1).squeeze(-1), v, goal), None)
        with torch.no_grad():
            kl = (old.exp() * (old - torch.log_softmax(forward(policy, x), -1))).sum(-1).mean(-1)
        factor = torch.where(kl > 1.5 * TARGET, 2.0, torch.where(kl < TARGET / 1.5, 0.5, 1.0))
        beta = torch.where(adaptive, beta * factor, beta).clamp(least, most)
        print(f"\r{update + 1}/{updates}", end="", file=sys.stderr)
    return np.nanmean(means[-(updates // 10) :], axis=0)


def main():
    torch.set_num_threads(1)
    print("way,arm,seed,score")
    for way, has in WAYS.items():
        for (arm, seed), score in zip(RUNS, train(has)):
            print(f"{way},{arm},{seed},{score:.4f}", flush=True)


if __name__ == "__main__":
    main()
