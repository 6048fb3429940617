"""Actor and critic as functions of one flat parameter vector.

Everything is written for one run: theta [P], observation [N, D]. A leading [R] on both is a fleet.
An action distribution is one tensor phi [N, K] of distribution parameters, Gaussian or categorical.
All sums over action dimensions, all logarithms natural: KL and entropy in nats.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Array = Tensor | np.ndarray
Parameters = Tensor | tuple[Tensor, ...]  # one flat vector, or its parts as split() gives them


def join(parts: tuple[Tensor, ...]) -> Tensor:
    """One run's parts as one flat vector [P]."""
    return torch.cat([part.flatten() for part in parts])


def tanh(x: Array) -> Array:
    """tanh(x); in compiled code as a sigmoid, to 2e-7 in float32: 0.7 ns per element instead of 2.6."""
    if isinstance(x, np.ndarray):
        return np.tanh(x)
    return 2 * torch.sigmoid(2 * x) - 1 if torch.compiler.is_compiling() else torch.tanh(x)


def relu(x: Array) -> Array:
    return np.maximum(x, 0) if isinstance(x, np.ndarray) else torch.relu(x)


ACTIVATIONS = {"tanh": tanh, "relu": relu}


@dataclass(frozen=True)
class Network:
    """An MLP with its activation between its layers, its parameters one flat vector."""

    sizes: tuple[int, ...]  # D, hidden ..., outputs
    activation: str = "tanh"

    @property
    def parameters(self) -> int:
        return sum((inputs + 1) * outputs for inputs, outputs in zip(self.sizes, self.sizes[1:]))

    def __call__(self, theta: Parameters, x: Tensor) -> Tensor:
        """theta [..., P] or split(theta), x [..., N, D] -> [..., N, outputs]."""
        return self.at(theta)(x)

    def at(self, theta: Parameters | tuple[np.ndarray, ...]) -> Callable[[Array], Array]:
        """The network as a function of x alone; of NumPy's arrays, if the parts of theta are such."""
        parts = theta if isinstance(theta, tuple) else self.split(theta)
        layers = [(weight.mT, bias[..., None, :]) for weight, bias in zip(parts[::2], parts[1::2])]
        activation = ACTIVATIONS[self.activation]

        def network(x):
            for layer, (weight, bias) in enumerate(layers):
                x = (x if layer == 0 else activation(x)) @ weight + bias
            return x

        return network

    def split(self, theta: Tensor) -> tuple[Tensor, ...]:
        """Each layer's weight [..., outputs, inputs] and bias [..., outputs], views of theta."""
        shapes = zip(self.sizes, self.sizes[1:])
        sizes = [size for inputs, outputs in shapes for size in (inputs * outputs, outputs)]
        parts = list(theta.split(sizes, -1))
        parts[::2] = [part.unflatten(-1, (-1, inputs)) for part, inputs in zip(parts[::2], self.sizes)]
        return tuple(parts)

    def initial(self, rng: np.random.Generator, last_gain: float, kind: str = "orthogonal") -> Tensor:
        """[P] float64, by kind:

        orthogonal  weights of gain sqrt(2), the last layer's of last_gain; biases 0
        xavier      weights uniform within sqrt(6 / (inputs + outputs)); biases 0 (Glorot & Bengio 2010, eq. 16)
        torch       weights and biases uniform within 1 / sqrt(inputs), as torch.nn.Linear makes them
        """
        parts = []
        for layer, (inputs, outputs) in enumerate(zip(self.sizes, self.sizes[1:])):
            if kind != "orthogonal":
                bound = math.sqrt(6 / (inputs + outputs)) if kind == "xavier" else 1 / math.sqrt(inputs)
                weight, bias = (rng.uniform(-bound, bound, size) for size in (outputs * inputs, outputs))
                parts += [weight, bias if kind == "torch" else np.zeros(outputs)]
                continue
            gain = last_gain if layer == len(self.sizes) - 2 else math.sqrt(2)
            square = rng.standard_normal((max(inputs, outputs), min(inputs, outputs)))
            q, r = np.linalg.qr(square)
            q = q * np.sign(np.diagonal(r))  # without it the distribution is not uniform
            parts += [gain * (q if outputs >= inputs else q.T).reshape(-1), np.zeros(outputs)]
        return torch.from_numpy(np.concatenate(parts))


class Gaussian:
    """Diagonal Gaussian: phi = (mean, log standard deviation), K = 2 A; actions [N, A]."""

    def __init__(self, size: int):
        self.size = self.width = size  # width: numbers in one action
        self.outputs = size
        self.extra = size  # the state-independent log standard deviations, trained like all else

    def phi(self, outputs: Tensor, extra: Tensor) -> Tensor:
        return torch.cat([outputs, extra.unsqueeze(-2).expand_as(outputs)], -1)

    def noise(self, rng: np.random.Generator, steps: int) -> np.ndarray:
        return rng.standard_normal((steps, self.size))

    def sampler(self, extra: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Actions [R, A] from the network's outputs and the noise [R, A], in NumPy; extra [R, A]."""
        std = np.exp(extra)
        return lambda outputs, noise: outputs + std * noise

    def log_prob(self, phi: Tensor, action: Tensor) -> Tensor:
        mean, log_std = phi.chunk(2, -1)
        standardised = (action - mean) * torch.exp(-log_std)
        return (-0.5 * standardised.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self, phi: Tensor) -> Tensor:
        _, log_std = phi.chunk(2, -1)
        return (log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def kl_old_new(self, old: Tensor, new: Tensor) -> Tensor:
        """KL(old || new) [N]. Small terms are kept apart (expm1), so that a small KL is not rounding noise."""
        (old_mean, old_log_std), (new_mean, new_log_std) = old.chunk(2, -1), new.chunk(2, -1)
        shift = (new_mean - old_mean) * torch.exp(-new_log_std)
        widening = 2 * (old_log_std - new_log_std)
        return 0.5 * (shift.square() + torch.expm1(widening) - widening).sum(-1)

    def weight(self, phi: Tensor) -> Tensor:
        """1 / std^2 [N, A]."""
        return torch.exp(-2 * phi.chunk(2, -1)[1])

    def metric(self, phi: Tensor, tangent: Tensor) -> Tensor:
        """Fisher information of phi times a tangent: diag(1 / std^2, 2)."""
        mean, log_std = tangent.chunk(2, -1)
        return torch.cat([mean * self.weight(phi), 2 * log_std], -1)


class StateGaussian(Gaussian):
    """The same with a log standard deviation per state, which is the second half of the network's outputs."""

    def __init__(self, size: int):
        super().__init__(size)
        self.outputs, self.extra = 2 * size, 0

    def phi(self, outputs: Tensor, extra: Tensor) -> Tensor:
        return outputs

    def sampler(self, extra: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        def sample(outputs, noise):
            mean, log_std = np.split(outputs, 2, -1)
            return mean + np.exp(log_std) * noise

        return sample


class Categorical:
    """Categorical over A actions: phi = logits, K = A; actions [N, 1], integers kept as floats.

    Kept as floats so that one rollout type serves both families; exact far beyond any action count.
    """

    extra = 0
    width = 1

    def __init__(self, size: int):
        self.size = size
        self.outputs = size

    def phi(self, outputs: Tensor, extra: Tensor) -> Tensor:
        return outputs

    def noise(self, rng: np.random.Generator, steps: int) -> np.ndarray:
        return rng.gumbel(size=(steps, self.size))

    def sampler(self, extra: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """The Gumbel-max trick: actions [R, 1] from the network's outputs and the noise [R, A], in NumPy."""
        return lambda outputs, noise: (outputs + noise).argmax(-1, keepdims=True).astype(outputs.dtype)

    def log_prob(self, phi: Tensor, action: Tensor) -> Tensor:
        return torch.log_softmax(phi, -1).gather(-1, action.long()).squeeze(-1)

    def entropy(self, phi: Tensor) -> Tensor:
        log_p = torch.log_softmax(phi, -1)
        return -(log_p.exp() * log_p).sum(-1)

    def kl_old_new(self, old: Tensor, new: Tensor) -> Tensor:
        """KL(old || new) [N]. As sum p (e^d - 1 - d) near old, d = log p_new - log p: no term is negative."""
        log_p = torch.log_softmax(old, -1)
        p, d = log_p.exp(), torch.log_softmax(new, -1) - log_p
        small = (p * (torch.expm1(d.clamp(max=1)) - d)).sum(-1)
        return torch.where(d.amax(-1) <= 1, small, -(p * d).sum(-1))  # far away e^d could overflow

    def weight(self, phi: Tensor) -> Tensor:
        """Probabilities [N, A]."""
        return torch.softmax(phi, -1)

    def metric(self, phi: Tensor, tangent: Tensor) -> Tensor:
        """Fisher information of the logits times a tangent: diag(p) - p p^T."""
        p = self.weight(phi)
        return p * (tangent - (p * tangent).sum(-1, keepdim=True))


class Categoricals:
    """A product of C independent categoricals over sizes[c] values: phi = their logits side by side, K = sum(sizes).

    Actions [N, C], integers kept as floats. Log-probabilities, entropies and KL are sums over the components.
    """

    extra = 0

    def __init__(self, sizes: tuple[int, ...]):
        self.sizes = tuple(sizes)
        self.size = self.outputs = sum(self.sizes)
        self.width = len(self.sizes)
        self._each = Categorical(max(self.sizes))

    def _apart(self, x: Tensor, padding: float) -> Tensor:
        """[..., K] as [..., C, max(sizes)]."""
        if len(set(self.sizes)) == 1:
            return x.unflatten(-1, (self.width, self._each.size))
        parts = x.split(self.sizes, -1)
        pad = torch.nn.functional.pad
        return torch.stack([pad(part, (0, self._each.size - part.shape[-1]), value=padding) for part in parts], -2)

    def _logits(self, phi: Tensor) -> Tensor:
        return self._apart(phi, -1e30)  # of probability 0; infinity would make NaN of 0 log 0

    def phi(self, outputs: Tensor, extra: Tensor) -> Tensor:
        return outputs

    def noise(self, rng: np.random.Generator, steps: int) -> np.ndarray:
        return rng.gumbel(size=(steps, self.size))

    def sampler(self, extra: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Actions [R, C] from the network's outputs and the noise, both [R, K], in NumPy."""
        ends = np.cumsum(self.sizes)
        pieces = [slice(end - size, end) for end, size in zip(ends, self.sizes)]

        def sample(outputs, noise):
            noisy = outputs + noise
            return np.stack([noisy[..., piece].argmax(-1) for piece in pieces], -1).astype(outputs.dtype)

        return sample

    def log_prob(self, phi: Tensor, action: Tensor) -> Tensor:
        return self._each.log_prob(self._logits(phi), action.unsqueeze(-1)).sum(-1)

    def entropy(self, phi: Tensor) -> Tensor:
        return self._each.entropy(self._logits(phi)).sum(-1)

    def kl_old_new(self, old: Tensor, new: Tensor) -> Tensor:
        return self._each.kl_old_new(self._logits(old), self._logits(new)).sum(-1)

    def weight(self, phi: Tensor) -> Tensor:
        """Probabilities [N, C, max(sizes)]."""
        return self._each.weight(self._logits(phi))

    def metric(self, phi: Tensor, tangent: Tensor) -> Tensor:
        """Fisher information times a tangent: one block per component."""
        moved = self._each.metric(self._logits(phi), self._apart(tangent, 0.0))
        return torch.cat([moved[..., c, :size] for c, size in enumerate(self.sizes)], -1)


def with_std(family: "Family", state_dependent: bool) -> "Family":
    """The task's own family, or its Gaussian with a standard deviation per state."""
    return StateGaussian(family.size) if state_dependent else family


Family = Gaussian | Categorical | Categoricals


@dataclass(frozen=True)
class Policy:
    """theta = (network parameters, the family's state-independent parameters)."""

    network: Network
    family: Family

    @classmethod
    def make(cls, observation_size: int, family: Family, hidden: tuple[int, ...], activation: str = "tanh") -> "Policy":
        return cls(Network((observation_size, *hidden, family.outputs), activation), family)

    @property
    def parameters(self) -> int:
        return self.network.parameters + self.family.extra

    def __call__(self, theta: Parameters, observation: Tensor) -> Tensor:
        """theta [P] or split(theta), observation [N, D] -> phi [N, K]."""
        *network, extra = theta if isinstance(theta, tuple) else self.split(theta)
        return self.family.phi(self.network(tuple(network), observation), extra)

    def actor(self, theta: Tensor) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Under one theta [R, P], actions [R, A] for observations [R, D] and noise [R, .], in NumPy.

        Every call finds the caches cold after a step of the simulators, and NumPy needs less of them than
        torch: 3 instead of 8 us per environment step in a fleet of 20.
        """
        *network, extra = (part.numpy(force=True) for part in self.split(theta))
        network, sample, dtype = self.network.at(tuple(network)), self.family.sampler(extra), extra.dtype

        def act(observation, noise):
            outputs = network(observation.astype(dtype)[:, None])[:, 0]
            return sample(outputs, noise.astype(dtype))

        return act

    def split(self, theta: Tensor) -> tuple[Tensor, ...]:
        """The network's parts and the family's own parameters, views of theta."""
        network, extra = theta.split((self.network.parameters, self.family.extra), -1)
        return *self.network.split(network), extra

    def initial(self, rng: np.random.Generator, kind: str = "orthogonal", log_std: float = 0.0) -> Tensor:
        """[P] float64. An orthogonal last layer is shrunk by 100: the first policy nearly ignores its input.

        log_std is the Gaussian's, or the bias of it where it depends on the state.
        """
        network = self.network.initial(rng, last_gain=0.01, kind=kind)
        if isinstance(self.family, StateGaussian):
            network[-self.family.size :] += log_std
        return torch.cat([network, torch.full((self.family.extra,), log_std, dtype=network.dtype)])
