"""The network's share of learning and acting in machine code: fused.cpp and acting.cpp, for float32 on a CPU.

They are compiled at their first use and kept for later processes. What is fused is what the definitions in policy.py,
objective.py and sgd.py say, which go on to be used everywhere else: in float64, on other devices, without a C++
compiler, and with execution.compile=false. A run's bits do not depend on its fleet-mates.

A policy's inner loop is one call where fused.cpp knows its loss (LOSSES); for any other loss torch says, minibatch by
minibatch, what the network's outputs are worth. The bits are the same. One call takes a third of the processor time:
before over after is 2.8 to 4.1 with KL(new || old), the entropy bonus or advantages normalised per minibatch. Conjugate
gradients on the Fisher matrix are one call, too: half the time, the same bits.
"""

import ctypes
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torch._appdirs import user_cache_dir

from study import compiler
from study.policy import Categorical, Categoricals, Family, Gaussian, Network, Policy, StateGaussian
from study.rollout import Actor, normalise

aten = torch.ops.aten
SOURCES = [Path(__file__).with_name(name) for name in ("fused.cpp", "acting.cpp", "fused.h")]
FLAGS = ["-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC"]


def build(folder: Path) -> Path:
    """The shared library in the folder; made if no process has made it from this source on such a machine."""
    cxx = os.environ.get("CXX", "c++")
    macros = _run([cxx, "-march=native", "-dM", "-E", "-x", "c++", os.devnull])  # the compiler and the processor
    parts = [cxx, *FLAGS, macros, *(source.read_text() for source in SOURCES)]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"study-{key}.so"
    with FileLock(library.with_suffix(".lock")):
        if not library.exists():
            made = library.with_suffix(f".{os.getpid()}")
            _run([cxx, *FLAGS, *map(str, SOURCES[:2]), "-o", str(made)])
            made.replace(library)
    return library


def _run(command: list[str]) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except subprocess.CalledProcessError as error:
        raise OSError(f"{command[0]}: {error.stderr.strip()}") from None


@cache
def library() -> ctypes.CDLL | None:
    """The loaded library, from torch's folder for extensions; None, and one line once, where it cannot be had."""
    folder = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or user_cache_dir("torch_extensions"))
    try:
        return ctypes.CDLL(str(build(folder)))
    except (OSError, RuntimeError) as error:
        compiler.lost(error)
        return None


def serves(compile: bool | str, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a fleet's networks are fused; compile is execution.compile."""
    return bool(compile) and device.type == "cpu" and dtype == torch.float32 and library() is not None


class _Rule(ctypes.Structure):
    _fields_ = [("adam", ctypes.c_int64)] + [
        (name, ctypes.c_void_p)
        for name in ("rate", "bound", "first", "second", "first_weight", "second_weight", "count")
    ]


def _rule(optimizer: str, adam: NamedTuple, rate: Tensor, bound: Tensor | None) -> _Rule:
    return _Rule(optimizer == "adam", *(None if x is None else x.data_ptr() for x in (rate, bound, *adam)))


# The losses that fused.cpp knows: its numbers of their objective and of their penalty.
LOSSES = {
    "study.algorithm.fixpo.fixup_loss": (0, 1),
    "study.algorithm.kl_fixed.loss": (1, 1),
    "study.algorithm.kl_reverse.loss": (1, 2),
    "study.algorithm.unpenalised.loss": (1, 0),
    "study.algorithm.clip.loss": (2, 0),
    "study.algorithm.kl_per_sample.loss": (3, 0),
    "study.algorithm.simple_policy_optimization.loss": (4, 0),
    "study.algorithm.vmpo.loss": (5, 1),
    "study.objective.surrogate_at": (6, 0),
    "study.objective.mean_entropy": (0, 0),
}
FAMILIES = {Gaussian: 0, StateGaussian: 1, Categorical: 2, Categoricals: 2}


class _Loss(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in "objective penalty family actions components".split()] + [
        (name, ctypes.c_void_p)
        for name in "sizes action old log_prob advantage number entropy order exp expm1 log exps".split()
    ]


@cache
def _torchs() -> tuple[int, ...] | None:
    """Where torch has the functions that are not exact: those of a softmax, and torch.exp."""
    lanes = library().lanes()
    try:
        found = ctypes.CDLL(str(Path(torch.__file__).parent / "lib/libtorch_cpu.so"))
        names = f"Sleef_expf{lanes}_u10", f"Sleef_expm1f{lanes}_u10", f"Sleef_logf{lanes}_u10", "vmsExp"
        return tuple(ctypes.cast(getattr(found, name), ctypes.c_void_p).value for name in names)
    except (OSError, AttributeError):
        return None


def _components(family: Family) -> tuple[int, ...]:
    """The sizes of the categoricals side by side; none of a Gaussian."""
    return () if isinstance(family, Gaussian) else getattr(family, "sizes", (family.size,))


def _loss(loss: Callable, policy: Policy, fields: dict[str, Tensor], numbers: tuple[Tensor, ...]) -> _Loss | None:
    """The loss of a batch [R, N, .] for fused.cpp, if it knows it; with sgd.with_entropy, too."""
    entropy = None
    if hasattr(loss, "__wrapped__") and numbers:
        loss, (entropy, *numbers) = loss.__wrapped__, numbers
    known, family = LOSSES.get(f"{loss.__module__}.{loss.__qualname__}"), FAMILIES.get(type(policy.family))
    if known is None or family is None or not fields.keys() >= {"action", "old"} or _torchs() is None:
        return None
    advantage, number = fields.get("advantage", fields.get("weight")), numbers[0] if numbers else None
    if known == (0, 0):
        entropy = fields["old"].new_full((len(fields["old"]),), -1)  # a bonus is taken off
    tensors = fields["action"], fields["old"], fields.get("log_prob"), advantage, number, entropy
    tensors = [None if x is None else x.contiguous() for x in tensors]
    sizes = _components(policy.family)
    tensors.insert(0, torch.tensor(sizes, dtype=torch.int64))
    made = _Loss(*known, family, policy.family.size, len(sizes), *map(_plain, tensors), None, *_torchs())
    made.keeps = tensors  # behind the addresses
    return made


@cache
def _same(loss: Callable, batch: type, family: type, size: int | tuple, samples: int, count: int) -> bool:
    """Whether fused.cpp's slope of a loss has the bits of torch's, on made-up minibatches of so many samples.

    It has not where torch uses other functions or another order of sums, and where the definition of the loss, or
    what it uses, was changed.
    """
    made_up, runs = torch.Generator().manual_seed(0), 2

    def normal(*shape):
        return torch.randn(runs, *shape, generator=made_up)

    policy = Policy.make(1, family(size), ())
    parameters, outputs, moved = policy.family.extra, policy.family.outputs, torch.linspace(0.1, 3, samples)[:, None]
    before, rest = normal(samples, outputs), 0.3 * normal(parameters)
    old = torch.func.vmap(policy.family.phi)(before, rest)
    parts = _components(policy.family) or (1,)
    action = torch.cat([torch.randint(of, (runs, samples, 1), generator=made_up) for of in parts], -1).float()
    if issubclass(family, Gaussian):
        action = old[..., :size] + old[..., size:].exp() * normal(samples, size)
    fields = {"action": action, "old": old, "log_prob": policy.family.log_prob(old, action)}
    fields = {name: fields[name] if name in fields else normal(samples) for name in _names(batch)}
    numbers = tuple(0.1 + torch.rand(runs, generator=made_up) for _ in range(count))
    after, rest = before + moved * normal(samples, outputs) / 2, rest + 0.1 * normal(parameters)
    ours = Kernel(policy.network).slope(after, rest, _loss(loss, policy, fields, numbers))
    for run in range(runs):  # by autograd itself: torch.func would import torch._dynamo, a second
        its = after[run].requires_grad_(), rest[run].requires_grad_()
        with torch.enable_grad():
            given = Given(policy.family.phi(*its), policy)
            own = batch(observation=OBSERVATION, **{name: field[run] for name, field in fields.items()})
            made = loss(given, THETA, own, *(number[run] for number in numbers))
        theirs = torch.autograd.grad(made, its, materialize_grads=True)
        if not all(torch.equal(mine[run], true) for mine, true in zip(ours, theirs)):
            return False
    return True


class Few(NamedTuple):
    """Observations x [R, N, D] of which few numbers differ from a row of their run, for fused.cpp."""

    limit: int  # of differences in one sample
    most: Tensor  # [R] differences in any sample of the run, int64; 0: its observations are passed as they are
    base: Tensor  # [R, D]
    place: Tensor  # [R, N, limit] int32
    difference: Tensor  # [R, N, limit], zeros behind a sample's last

    @classmethod
    def of(cls, x: Tensor) -> "Few | None":
        """None where so few inputs would save nothing. Taxi's 500, one of them 1 before they are normalised, cost a
        fifth of the time so."""
        runs, samples, inputs = x.shape
        limit = inputs // 32
        if limit == 0 or samples < 3:
            return None
        most, base = torch.empty(runs, dtype=torch.int64), x.new_empty(runs, inputs)
        place, difference = torch.zeros(runs, samples, limit, dtype=torch.int32), x.new_zeros(runs, samples, limit)
        made = cls(limit, most, base, place, difference)
        library().differences(*map(_plain, (*x.shape, limit, x, *made[1:])))
        return made if most.any() else None


class _Few(ctypes.Structure):
    _fields_ = [("limit", ctypes.c_int64)] + [(name, ctypes.c_void_p) for name in Few._fields[1:]]


def _plain(x):
    """An argument for fused.cpp: integers as int64, tensors by their address."""
    if isinstance(x, Tensor):
        assert x.is_contiguous() and x.dtype in (torch.float32, torch.int32, torch.int64) and x.device.type == "cpu"
        return ctypes.c_void_p(x.data_ptr())
    if isinstance(x, np.ndarray):
        assert x.flags.c_contiguous and x.dtype in (np.float32, np.float64)
        return ctypes.c_void_p(x.ctypes.data)
    if isinstance(x, Few):
        return ctypes.byref(_Few(x.limit, *(part.data_ptr() for part in x[1:])))
    return ctypes.c_int64(x) if isinstance(x, int) else x


class Kernel:
    """A network's functions for a fleet: theta [R, P] with the network's parameters first, x [R, N, D]."""

    def __init__(self, network: Network):
        self.network = network
        self.outputs = network.sizes[-1]
        self._sizes = (ctypes.c_int64 * (len(network.sizes) + 1))(*network.sizes, network.activation == "relu")

    def _call(self, name: str, *arguments) -> None:
        """The arguments in the order of fused.cpp."""
        layers = ctypes.c_int64(len(self.network.sizes) - 1)
        getattr(library(), name)(layers, self._sizes, *map(_plain, arguments))

    def keep(self, runs: int, samples: int) -> Tensor:
        """Room for what linearisation needs of N samples of R runs."""
        return torch.empty(runs, -(-samples // 64), sum(self.network.sizes[:-1]), 64)

    def forward(
        self,
        theta: Tensor,
        x: Tensor,
        kept: Tensor | None = None,
        order: Tensor | None = None,
        few: Few | None = None,
    ) -> Tensor:
        """[R, N, outputs]; of the samples order [R, N] of x, where it is given. kept goes with its few."""
        samples, stride = (x.shape[1], 0) if order is None else (order.shape[1], order.stride(0))
        assert order is None or (order.stride(1) == 1 and order.dtype == torch.int64)
        made = theta.new_empty(len(theta), samples, self.outputs)
        order = None if order is None else ctypes.c_void_p(order.data_ptr())
        table = x.shape[1]
        self._call("forward", len(theta), samples, theta.shape[1], theta, x, few, table, order, stride, kept, made)
        return made

    def transposed(self, theta: Tensor, kept: Tensor, u: Tensor, few: Few | None = None) -> Tensor:
        """J^T u [S, P] of u [S, N, outputs], row s at run s % R; 0 in what lies behind the network's parameters."""
        made = theta.new_zeros(len(u), theta.shape[1])
        size = theta.shape[1]
        self._call("transposed", len(theta), u.shape[1], size, theta, kept, few, len(u), u.contiguous(), made)
        return made

    def descend(self, theta: Tensor, kept: Tensor, few: Few | None, u: Tensor, rest: Tensor, rule: _Rule) -> None:
        """A step of theta, and of the state that the rule holds, in place; the gradient is (J^T u, rest)."""
        u, rest = u.contiguous(), rest.contiguous()
        self._call("descend", len(theta), u.shape[1], theta.shape[1], theta, kept, few, u, rest, rule)

    def descend_loss(self, theta: Tensor, x: Tensor, loss: _Loss, order: Tensor, size: int, rule: _Rule) -> None:
        """Steps down a loss that fused.cpp knows, as fit_squares."""
        runs, epochs, each = order.shape
        order, loss, parameters = order.contiguous(), ctypes.byref(loss), theta.shape[1]
        run = runs, x.shape[1], parameters, theta, x, Few.of(x), loss, order, epochs, each, size, rule
        self._call("descend_loss", *run)

    def slope(self, outputs: Tensor, rest: Tensor, loss: _Loss) -> tuple[Tensor, Tensor]:
        """derivative() of a loss that fused.cpp knows, on the whole of its batch."""
        made, in_rest = torch.empty_like(outputs), torch.zeros_like(rest)
        rest, loss = rest.contiguous(), ctypes.byref(loss)
        self._call("slope_of", *outputs.shape[:2], outputs, rest.shape[1], rest, loss, made, in_rest)
        return made, in_rest

    def loss_gradient(self, theta: Tensor, x: Tensor, loss: _Loss) -> Tensor:
        """[R, P] of a loss that fused.cpp knows, on the whole of x."""
        made = torch.empty_like(theta)
        self._call("loss_gradient", *x.shape[:2], theta.shape[1], theta, x, Few.of(x), ctypes.byref(loss), made)
        return made

    def fit_squares(self, theta: Tensor, x: Tensor, target: Tensor, order: Tensor, size: int, rule: _Rule) -> None:
        """Steps down mean (network - target)^2 in place, over order [R, epochs, N] in minibatches of the size."""
        runs, epochs, each = order.shape
        order, few = order.contiguous(), Few.of(x)
        self._call("fit_squares", runs, x.shape[1], theta, x, few, target, order, epochs, each, size, rule)


class _Rollout(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("runs", "horizon")),
        ("bound", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("turned", "mean", "scale")),
        ("components", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("sizes", "std", "seen", "noise", "alive", "actions", "action")),
    ]


@dataclass(frozen=True)
class _Actor(Actor):
    steps: Callable[..., Callable[[int], np.ndarray]]

    def within(self, seen, noise, actions, alive):
        return self.steps(seen, noise, actions, alive)


def actor(policy: Policy, theta: Tensor, mean: np.ndarray, scale: np.ndarray, bound: float = 5.0) -> Actor:
    """rollout.actor in acting.cpp; in a rollout a step is one call, which samples, too, where NumPy's exponential is
    not asked for at every step.

    With fewer operations around EnvPool's steps (task.py), a rollout's processor time before over after is 1.4 for
    CartPole, 1.1 for Pendulum and 1.3 for HalfCheetah, simulators included (medians of three pairs, 0.9 to 1.5, on a
    busy machine; 20 runs)."""
    kernel, theta, family = Kernel(policy.network), _own(theta), policy.family
    runs, inputs, layers = len(theta), policy.network.sizes[0], ctypes.c_int64(len(policy.network.sizes) - 1)
    mean, scale = (np.ascontiguousarray(moment, np.float64) for moment in (mean, scale))
    assert mean.shape == scale.shape == (runs, inputs)
    turned = theta.new_empty(runs, library().acting_size(layers, kernel._sizes))
    kernel._call("begin_acting", runs, theta.shape[1], theta, mean, scale, ctypes.c_double(bound), turned)
    extra = theta[:, policy.network.parameters :].numpy()
    sample, outputs = family.sampler(extra), np.empty((runs, kernel.outputs), np.float32)

    def act(observation, noise):
        observation = np.ascontiguousarray(observation, np.float64)
        assert observation.shape == (runs, inputs)
        kernel._call("act", runs, turned, mean, scale, ctypes.c_double(bound), observation, outputs)
        return sample(outputs, noise.astype(np.float32))

    def steps(seen, noise, actions, alive):
        horizon, action = seen.shape[1], np.empty((runs, family.width), np.float32)
        assert seen.shape == (runs, horizon, inputs) and noise.shape == (runs, horizon, kernel.outputs)
        assert actions.shape == (runs, horizon, family.width) and alive.shape == (runs,) and alive.dtype == bool
        assert all(x.dtype == np.float64 and x.flags.c_contiguous for x in (seen, noise, actions))
        gaussian = isinstance(family, Gaussian)
        parts = [] if gaussian else getattr(family, "sizes", [family.size])
        std = np.ascontiguousarray(np.exp(extra)) if gaussian else None
        kept = turned.numpy(), mean, scale, np.array(parts, np.int64), std, seen, noise, alive, actions, action
        places = [None if array is None else array.ctypes.data for array in kept]
        its = _Rollout(runs, horizon, bound, *places[:3], len(parts), *places[3:])
        function, before = library().act_at, (layers, kernel._sizes, ctypes.byref(its))

        def step(t):
            function(*before, ctypes.c_int64(t))
            return action

        step.keeps = kept  # behind the addresses
        return step

    return Actor(act) if isinstance(family, StateGaussian) else _Actor(act, steps)


# The inner loop. The network is passed forwards and backwards here; what its outputs are worth, the page says.


class Unfused(Exception):
    """A loss looks at more than the network's outputs."""


def _refuse(*_, **__):
    raise Unfused


class Passed:
    """Stands for what a loss only passes on to its network: any other use raises Unfused."""

    __torch_function__ = classmethod(_refuse)
    __getattr__ = _refuse


# What Python looks up in the type.
LOOKED_UP = "add sub mul matmul truediv floordiv mod pow and or xor lshift rshift"
LOOKED_UP = [side + name for name in LOOKED_UP.split() for side in ("", "r", "i")] + (
    "neg pos abs invert lt le gt ge getitem setitem iter len bool float int index contains array call".split()
)
for _name in LOOKED_UP:
    setattr(Passed, f"__{_name}__", _refuse)

THETA, OBSERVATION = Passed(), Passed()


class Given:
    """Stands for a network whose outputs are known."""

    def __init__(self, made: Tensor, network: Network | Policy):
        self._made = made
        if isinstance(network, Policy):
            self.family = network.family

    __getattr__ = _refuse  # its parameters, or its parts

    def __call__(self, theta, observation) -> Tensor:
        if theta is not THETA or observation is not OBSERVATION:
            raise Unfused
        return self._made


def _mlp(network: Network | Policy) -> Network:
    return network.network if isinstance(network, Policy) else network


def _fields(batch: NamedTuple) -> dict[str, Tensor]:
    """What a batch holds beside its observations."""
    return {name: getattr(batch, name) for name in _names(type(batch))}


def _names(batch: type) -> list[str]:
    return [name for name in batch._fields if name != "observation"]


def derivative(loss: Callable, network: Network | Policy, batch: type) -> Callable:
    """d loss / d outputs [R, n, outputs] and d loss / d rest [R, .] of outputs, rest, fields and numbers.

    fields are the batch's but for its observations, rest are the parameters behind the network's.
    """

    def of(outputs, rest, fields, numbers):
        made = network.family.phi(outputs, rest) if isinstance(network, Policy) else outputs
        return loss(Given(made, network), THETA, batch(observation=OBSERVATION, **fields), *numbers)

    return torch.func.vmap(torch.func.grad(of, argnums=(0, 1)))


def each(fleet, function: Callable, network: Network | Policy, otherwise: Callable) -> Callable:
    """Fleet.each of a function that looks at theta through the network's outputs alone; `otherwise` for any other."""
    fits = True

    def of(phi, fields, numbers, batch):
        return function(Given(phi, network), THETA, batch(observation=OBSERVATION, **fields), *numbers)

    made = None

    def run(theta, batch=None, *numbers):
        nonlocal fits, made
        if fits and hasattr(batch, "observation"):
            try:
                if made is None:
                    made = torch.func.vmap(partial(of, batch=type(batch)))
                    made = compiler.compiled(made, function.__qualname__) if fleet.compile else made
                return made(outputs(network, theta, batch.observation), _fields(batch), numbers)
            except Unfused:
                fits = False
        return otherwise(theta, *(() if batch is None else (batch,)), *numbers)

    return run


@torch.no_grad()
def outputs(network: Network | Policy, theta: Tensor, observation: Tensor) -> Tensor:
    """What the network makes of theta [R, P] and observations [R, N, D], or the policy: its phi."""
    kernel, observation = Kernel(_mlp(network)), observation.contiguous()
    made = kernel.forward(theta.contiguous(), observation, few=Few.of(observation))
    return network.family.phi(made, theta[:, kernel.network.parameters :]) if isinstance(network, Policy) else made


@torch.no_grad()
def gradient(fleet, loss: Callable, network: Network | Policy, theta: Tensor, batch: NamedTuple, *numbers) -> Tensor:
    """d loss / d theta [R, P] of a loss(network, theta, batch, *numbers) that looks at the network's outputs alone."""
    kernel = Kernel(_mlp(network))
    (runs, samples), parameters = batch.observation.shape[:2], kernel.network.parameters
    theta, observation, fields = theta.contiguous(), batch.observation.contiguous(), _fields(batch)
    if known := _known(fleet, loss, network, batch, numbers, samples, samples):
        return kernel.loss_gradient(theta, observation, known)
    kept, few = kernel.keep(runs, samples), Few.of(observation)
    made = kernel.forward(theta, observation, kept, few=few)
    key = (loss, network)
    if key not in fleet.made:
        slope = derivative(loss, network, type(batch))
        fleet.made[key] = compiler.compiled(slope, f"slope of {loss.__qualname__}") if fleet.compile else slope
    u, rest = fleet.made[key](made, theta[:, parameters:], fields, numbers)
    found = kernel.transposed(theta, kept, u, few)
    found[:, parameters:] = rest
    return found


def traced(function: Callable, *arguments) -> Callable:
    """The function as the list of operations it does on such arguments, where compiling does not pay.

    What does not depend on the arguments' values is computed now, and what would be computed twice once; that takes a
    quarter of the operations away. The bits stay.
    """
    from torch.fx.experimental.proxy_tensor import make_fx  # half a second

    graph = make_fx(torch.func.functionalize(function))(*arguments)
    nodes, seen = graph.graph.nodes, {}
    for node in nodes:
        if node.target is aten.detach.default:
            node.replace_all_uses_with(node.args[0])
    for node, value in _constants(graph, arguments).items():
        graph.register_buffer(f"fixed_{node.name}", value.contiguous())
        with graph.graph.inserting_before(node):
            node.replace_all_uses_with(graph.graph.get_attr(f"fixed_{node.name}"))
    for node in nodes:
        if node.op == "call_function":
            same = seen.setdefault((node.target, repr(node.args), repr(node.kwargs)), node)
            if same is not node:
                node.replace_all_uses_with(same)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _constants(graph: torch.fx.GraphModule, arguments: tuple) -> dict[torch.fx.Node, Tensor]:
    """The graph's tensors that only shapes decide."""
    filled = {aten.ones_like.default, aten.zeros_like.default, aten.scalar_tensor.default, aten.new_zeros.default}
    found = {}

    class Values(torch.fx.Interpreter):
        def run_node(self, node):
            value, of = super().run_node(node), node.all_input_nodes
            if node.target in filled or (of and found.keys() >= set(of) and isinstance(value, Tensor)):
                found[node] = value
            return value

    Values(graph).run(*arguments)
    return found


def _own(x: Tensor) -> Tensor:
    return x.clone(memory_format=torch.contiguous_format)


def _known(fleet, loss, network, batch: NamedTuple, numbers, each: int, size: int) -> _Loss | None:
    """The loss where minimise() is one call of fused.cpp."""
    if not isinstance(network, Policy):
        return None
    made, family = _loss(loss, network, _fields(batch), numbers), network.family
    sizes, of = (
        {min(size, each), each % size or size},
        (loss, type(batch), type(family), getattr(family, "sizes", family.size)),
    )
    return made if made and all(_same(*of, n, len(numbers)) for n in sizes) else None


@torch.no_grad()
def minimise(fleet, loss, network, theta, adam, batch, order, rate, numbers, optimizer, bound, size):
    """sgd.minimise; raises Unfused where the loss needs more than the network's outputs."""
    kernel = Kernel(_mlp(network))
    theta, adam, rate, observation = _own(theta), type(adam)(*map(_own, adam)), _own(rate), batch.observation
    rule, fields, observation = _rule(optimizer, adam, rate, bound), _fields(batch), observation.contiguous()
    order, normalised = order.contiguous(), fleet.advantage_normalization == "minibatch" and "advantage" in fields
    parts = _minibatches(fields, order, size, normalised)
    if known := _known(fleet, loss, network, batch, numbers, order.shape[2], size):
        if normalised:
            advantage = torch.cat([minibatch["advantage"] for _, minibatch in parts], 1)
            known.advantage, known.order = advantage.data_ptr(), order.data_ptr()
        kernel.descend_loss(theta, observation, known, order, size, rule)
        return theta, adam
    rest, kept = theta[:, kernel.network.parameters :], kernel.keep(len(theta), size)
    few = Few.of(observation)
    for rows, minibatch in parts:
        outputs = kernel.forward(theta, observation, kept, rows, few)
        arguments = outputs, rest, minibatch, numbers
        key = (loss, network, None if fleet.compile else outputs.shape)
        if key not in fleet.made:
            slope = derivative(loss, network, type(batch))
            name = f"slope of {loss.__qualname__}"
            fleet.made[key] = compiler.compiled(slope, name) if fleet.compile else traced(slope, *arguments)
        kernel.descend(theta, kept, few, *fleet.made[key](*arguments), rule)
    return theta, adam


def _minibatches(fields: dict[str, Tensor], order: Tensor, size: int, normalised: bool) -> Iterator[tuple]:
    """The places [R, n] of each minibatch, and its fields [R, n, ...]; order [R, epochs, N]."""
    # Whole rows of one table, because indexing every field by run and sample is far slower.
    runs, samples = next(iter(fields.values())).shape[:2]
    table = torch.cat([field.reshape(runs * samples, -1) for field in fields.values()], 1)
    first = samples * torch.arange(runs, device=order.device).unsqueeze(-1)
    widths = [field[0, 0].numel() for field in fields.values()]
    for epoch in order.unbind(1):
        rows = table.index_select(0, (epoch + first).flatten()).unflatten(0, epoch.shape)
        for start in range(0, epoch.shape[1], size):
            part = slice(start, start + size)
            columns = rows[:, part].split(widths, -1)
            minibatch = {
                name: column.unflatten(-1, field.shape[2:]) if field.ndim > 2 else column.squeeze(-1)
                for (name, field), column in zip(fields.items(), columns)
            }
            if normalised:
                minibatch["advantage"] = normalise(minibatch["advantage"])
            yield epoch[:, part], minibatch


@torch.no_grad()
def fit_squares(network, theta, adam, x, target, order, rate, size):
    """value.fit of a network with one output: theta and Adam's state."""
    theta, adam = _own(theta), type(adam)(*map(_own, adam))
    rule = _rule("adam", adam, rate, None)
    Kernel(network).fit_squares(theta, x.contiguous(), target.contiguous(), order, size, rule)
    return theta, adam


class _Metric(ctypes.Structure):
    _fields_ = [
        ("components", ctypes.c_int64),
        ("sizes", ctypes.c_void_p),
        ("width", ctypes.c_int64),
        ("weight", ctypes.c_void_p),
    ]


class Fisher:
    """v -> (F + damping) v of objective.fisher_vector_product at theta [R, P], linearised once; damping [R].

    v is [S, P], row s at run s % R. Products and conjugate gradients have the bits of torch's operations.
    """

    @torch.no_grad()
    def __init__(self, policy: Policy, theta: Tensor, states: Tensor, damping: Tensor):
        self._kernel, family, (runs, samples) = Kernel(policy.network), policy.family, states.shape[:2]
        self._theta, self._damping, states = _own(theta), damping.contiguous(), _own(states)
        few, kept = Few.of(states), self._kernel.keep(runs, samples)
        phi = family.phi(
            self._kernel.forward(self._theta, states, kept, few=few), theta[:, policy.network.parameters :]
        )
        sizes = _components(family)
        self._weight, self._sizes = family.weight(phi).flatten(2).contiguous(), torch.tensor(sizes, dtype=torch.int64)
        places = self._sizes.data_ptr(), self._weight.shape[-1], self._weight.data_ptr()
        self._its = samples, theta.shape[1], self._theta, kept, few, ctypes.byref(_Metric(len(sizes), *places))

    def __call__(self, v: Tensor) -> Tensor:
        made, damping = torch.empty_like(v), self._damping.repeat(len(v) // len(self._theta)).unsqueeze(-1)
        self._kernel._call("fisher", len(self._theta), *self._its, len(v), v.contiguous(), made)
        return made + damping * v

    def conjugate_gradient(self, b: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
        """That of solver.py in one call: x [S, P], and |b - (F + damping) x|^2 [S] by the recursion."""
        x, square, b = torch.empty_like(b), torch.empty_like(b[:, 0]), b.contiguous()
        its = len(self._theta), *self._its, len(b), self._damping, iterations, b, x, square
        self._kernel._call("conjugate_gradient", *its)
        return x, square
