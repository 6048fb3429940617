"""The typed configuration of one run: every number is checked once, here, before anything is made."""

import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ValidationError, field_validator

from study import algorithm, simulators, spelling
from study.files import CONF, shown
from study.settings import (
    AlgorithmSettings,
    ConfigError,
    Count,
    Finite,
    NonNegative,
    Positive,
    Seed,
    Share,
    Strict,
)

# Numbers that are the same in all runs of a fleet
SWITCHES = ("reward_clip", "observation_clip", "entropy_coefficient", "value_clip", "initial_log_std")
LEADING = ("kl_target", "clip_epsilon", "beta", "max_kl")  # the first that an algorithm has is always in its arm


class Task(Strict):
    name: str
    id: str
    backend: Literal["auto", "envpool", "gymnasium"]
    total_steps: Count
    max_episode_steps: Count | None = None  # a time limit in place of the environment's own
    kwargs: dict[str, Any] = {}

    @field_validator("kwargs")
    @classmethod
    def _keys(cls, kwargs):
        """1 and "1" would be one key of a run's identity, "a.b" and a.b one of its label."""
        for key in _keys(kwargs):
            if not isinstance(key, str) or not re.fullmatch(r"[^\s.=]+", key):
                raise ValueError(f"keys are words without dots, spaces and =, not {key!r}")
        return kwargs


class Diagnostics(Strict):
    """How implied_beta is measured, the same in every arm."""

    max_kl: Positive
    damping: NonNegative
    cg_iterations: Count
    fisher_stride: Count


class Fork(Strict):
    """Where a run begins, if not at the beginning: at a point of a source run of the same task and seed."""

    source: str  # folder of the source's study
    arm: str  # the source's column arm
    at: Count  # environment steps; one of its execution.snapshots


class Execution(Strict):
    """How a run is computed. It is no part of a run's identity."""

    compile: bool | Literal["auto"]
    device: str
    workers: Count | None
    cluster: str | dict[str, Any] = "local"
    fleet_size: Count
    results: str
    dry_run: bool = False
    snapshots: tuple[Count, ...] = ()
    tracker: Literal["none", "tensorboard", "wandb", "trackio"] = "none"
    policies: Literal["last", "best"] | None = None


class Config(Strict):
    """One run, resolved. Floats, but for SWITCHES, and the seed may differ within a fleet (AlgorithmSettings)."""

    name: str
    task: Task
    algorithm: AlgorithmSettings
    seed: Seed
    total_steps: Count
    horizon: Count
    epochs: Count
    minibatch_size: Count
    hidden: tuple[Count, ...]
    optimizer: Literal["adam", "sgd"]
    reset_optimizer: bool
    max_grad_norm: Positive | None = None
    learning_rate: Positive
    value_learning_rate: Positive
    gamma: Share
    gae_lambda: Share
    advantage_normalization: Literal["none", "centre", "batch", "minibatch"]
    reward_scaling: bool
    reward_scale: Positive
    reward_clip: Positive | None = None
    observation_normalization: bool = True
    observation_clip: Positive | None = 5.0
    anneal_learning_rate: bool = False
    anneal_clip_range: bool = False
    entropy_coefficient: NonNegative = 0.0
    value_clip: Positive | None = None
    activation: Literal["tanh", "relu"] = "tanh"
    initialization: Literal["orthogonal", "xavier", "torch"] = "orthogonal"
    initial_log_std: Finite = 0.0
    state_dependent_std: bool = False
    chapter: Count
    fork: Fork | None = None
    diagnostics: Diagnostics
    execution: Execution

    @property
    def iterations(self) -> int:
        """Whole rollouts in the budget; a remainder shorter than one rollout is not run."""
        return self.total_steps // self.horizon

    def with_seed(self, seed: int) -> "Config":
        """The same arm with another seed; nothing else is parsed or hashed twice."""
        if type(seed) is not int or not 0 <= seed < 2**31:
            return parse(self.model_dump(serialize_as_any=True) | {"seed": seed})
        copy = self.model_copy(update={"seed": seed})
        for name in ("run_id", "identity"):
            copy.__dict__.pop(name, None)
        copy.__dict__["identity"] = {**self.identity, "seed": seed}
        for name in ("fleet_key", "update_key", "arm", "task_label", "condition", "overrides"):
            copy.__dict__[name] = getattr(self, name)
        return copy

    @cached_property
    def identity(self) -> dict:
        """What makes the run this run: everything but the study's name and how it is computed."""
        identity = self.model_dump(mode="json", exclude={"name", "execution"}, serialize_as_any=True)
        del identity["task"]["total_steps"]  # the task's default; total_steps says what is run
        del identity["task"]["backend"], identity["task"]["name"]
        identity["backend"] = backend(self.task)
        for fields, made in ((Config, identity), (Task, identity["task"])):
            for name, field in fields.model_fields.items():
                # A key that came later: at its default runs keep the names they had before.
                if name != "kwargs" and name in made and not field.is_required() and made[name] == field.default:
                    del made[name]
        return identity

    @cached_property
    def run_id(self) -> str:
        return hashed(self.identity)

    @cached_property
    def fleet_key(self) -> str:
        """Equal for runs that can share a fleet: the identity without its algorithm and per-run numbers."""
        shared = {k: v for k, v in self.identity.items() if k in SWITCHES or not isinstance(v, float)}
        del shared["seed"], shared["algorithm"]
        return hashed(shared)

    @cached_property
    def update_key(self) -> str:
        """Equal for runs of a fleet that are updated together: the algorithm without its per-run numbers."""
        return hashed({k: v for k, v in self.identity["algorithm"].items() if not isinstance(v, float)})

    # How a run is called. Whatever the identity holds is in one of the two names, so that runs of different
    # identity differ in their arm, their task or their seed.

    @cached_property
    def arm(self) -> str:
        """The algorithm with its leading number, and with whatever else differs from the defaults in conf/."""
        own = [f"{key}={_free(v) if self._any_kind(key) else _word(v)}" for key, v in self._own.items()]
        return " ".join([self.algorithm.name, *own, *filter(None, [self.condition])])

    @cached_property
    def condition(self) -> str:
        """The part of `arm` that is not the algorithm's own: the settings of the protocol that differ."""
        return " ".join(_words(self._protocol))

    @cached_property
    def task_label(self) -> str:
        """The task's name, with whatever differs from its file in conf/task/ (of a task without one: its id)."""
        words = [f"{key}={_word(value)}" for key, value in self._of_task.items() if not key.startswith("kwargs.")]
        for key, value in self._of_task.items():
            if key.startswith("kwargs."):
                short = key.removeprefix("kwargs.")
                words.append(f"{key if short in Task.model_fields or short == 'backend' else short}={_free(value)}")
        return " ".join([self.task.name, *words])

    @cached_property
    def overrides(self) -> list[str]:
        """The words of a command line that compose this run from conf/, but for its seed and its study."""
        known = _task(self.task.name) is not None
        words = [f"task={self.task.name}"] if known else ["task=custom", f"task.id={_hydra(self.task.id)}"]
        if not known and self.task.name != self.task.id:
            words.append(f"task.name={_hydra(self.task.name)}")
        for key, value in self._of_task.items():
            if known or key != "id":
                words.append(f"{'++' if key.startswith('kwargs.') else ''}task.{key}={_hydra(value)}")
        words.append(f"algorithm={self.algorithm.name}")
        of_file = _defaults(f"algorithm/{self.algorithm.name}.yaml")
        words += [f"{'' if key in of_file else '++'}algorithm.{key}={_hydra(v)}" for key, v in self._own.items()]
        defaults, whole = _defaults("config.yaml"), {}
        for key in self._protocol:
            top = key.split(".")[0]
            nested = isinstance(defaults.get(top), DictConfig)
            name = key if nested else top  # fork is null by default, so it is given as a whole
            whole[name] = self._protocol[key] if nested else self.identity[top]
        return [*words, *(f"{key}={_hydra(value)}" for key, value in whole.items()), f"total_steps={self.total_steps}"]

    @cached_property
    def _own(self) -> dict:
        """The algorithm's settings that its name shows."""
        leading = next((name for name in LEADING if hasattr(self.algorithm, name)), None)
        defaults = _defaults(f"algorithm/{self.algorithm.name}.yaml")
        given = {name: getattr(self.algorithm, name) for name in type(self.algorithm).model_fields if name != "name"}
        fields = type(self.algorithm).model_fields
        usual = {name: defaults[name] if name in defaults else fields[name].default for name in given}
        return {
            name: value
            for name, value in given.items()
            if name == leading
            or (_free(value) != _free(usual[name]) if self._any_kind(name) else value != _plain(usual[name], value))
        }

    def _any_kind(self, name: str) -> bool:
        """Whether a setting of the algorithm may be a value of several kinds, so that 1 and '1' are two of them."""
        annotation = type(self.algorithm).model_fields[name].annotation
        kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
        return Any in kinds or len(set(kinds) - {NoneType}) > 1

    @cached_property
    def _protocol(self) -> dict:
        """{key: value} of the identity, nested keys with dots, that is no part of task or algorithm and differs."""
        defaults = _flat(OmegaConf.to_container(_defaults("config.yaml"), resolve=False))
        apart = {"task", "backend", "algorithm", "seed", "total_steps"}
        given = _flat({key: value for key, value in self.identity.items() if key not in apart})
        return {key: value for key, value in given.items() if value != _plain(defaults.get(key), value)}

    @cached_property
    def _of_task(self) -> dict:
        """{key: value} of the task's identity that its file does not say."""
        file = _task(self.task.name) or {"id": self.task.name}
        usual = Task(**({"name": "", "backend": "auto", "total_steps": 1} | file | {"id": file["id"]}))
        kwargs = _flat({"kwargs": usual.kwargs})
        defaults = {"id": usual.id, "max_episode_steps": usual.max_episode_steps, **kwargs}
        given = _flat(self.identity["task"]) | dict.fromkeys(kwargs.keys() - _flat(self.identity["task"]).keys())
        if self.identity["backend"] != backend(usual.model_copy(update={"id": self.task.id})):
            given["backend"] = self.identity["backend"]
        given.pop("kwargs", None)  # of an environment without any
        differ = {key for key, value in given.items() if key not in defaults or _free(value) != _free(defaults[key])}
        return {key: given[key] for key in sorted(differ, key=lambda key: (key.startswith("kwargs."), key))}

    @property
    def study(self) -> Path:
        return Path(self.execution.results) / self.name


@cache
def _defaults(file: str) -> Any:
    return OmegaConf.load(CONF / file)


@cache
def _task(name: str) -> dict | None:
    """What conf/task/ says of a task, if it has a file of its own there."""
    file = CONF / "task" / f"{name}.yaml"
    if not name.isidentifier() or name == "custom" or not file.is_file():
        return None
    return OmegaConf.to_container(OmegaConf.load(file))


def _flat(nested: dict, prefix: str = "") -> dict:
    """{"a": {"b": 1}} as {"a.b": 1}; what is empty stays."""
    flat = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def _keys(value: Any) -> list:
    """Of all dictionaries in it."""
    if isinstance(value, dict):
        return [*value, *(key for one in value.values() for key in _keys(one))]
    return [key for one in value for key in _keys(one)] if isinstance(value, list) else []


def _plain(default: Any, like: Any) -> Any:
    """A default out of YAML as the type of a parsed value."""
    if default is None:
        return None
    if isinstance(like, tuple | list):
        return type(like)(default)
    return float(default) if isinstance(like, float) and isinstance(default, int | float | str) else default


def _words(settings: dict) -> list[str]:
    return [f"{key}={_word(value)}" for key, value in settings.items()]


def _word(value: Any) -> str:
    """For a label: short, and never the same for two values of one kind."""
    if isinstance(value, tuple | list):
        return "x".join(map(_word, value))
    if isinstance(value, float):
        return short if float(short := f"{value:g}") == value else repr(value)
    return value if isinstance(value, str) else str(value).lower()


def _free(value: Any) -> str:
    """For a label, of a value that may be of any kind: 1, 1.0, '1' and [1] are four arguments and have four words."""
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_][\w./:-]*", value) and value.lower() not in (
            "none",
            "true",
            "false",
            "nan",
            "inf",
        )
        return value if plain else repr(value)
    if isinstance(value, float):
        return f"{word}.0" if re.fullmatch(r"-?\d+", word := _word(value)) else word
    if isinstance(value, tuple | list):
        return f"({','.join(map(_free, value))})"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_free(value[key])}' for key in sorted(value))}}}"
    return str(value).lower()


def _hydra(value: Any) -> str:
    """A value in the grammar of Hydra's command line."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_hydra, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_hydra(item)}' for key, item in value.items())}}}"
    if not isinstance(value, str):
        return repr(value)
    if re.fullmatch(r"[A-Za-z_][\w./:-]*", value) and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return value
    escaped = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value.replace("${", "\\${"))
    return f"'{escaped}'"


def backend(task: Task) -> str:
    """envpool where it has the id, else gymnasium."""
    if task.backend != "auto":
        return task.backend
    return "envpool" if task.id in simulators.envpool().list_all_envs() else "gymnasium"


def hashed(value: dict | list) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def parse(container: dict) -> Config:
    """The typed config of a resolved plain container. Raises ConfigError."""
    if broken := next((text for text in _texts(container) if re.search("[\ud800-\udfff]", text)), None):
        raise ConfigError(f"{ascii(broken)}: holds bytes that are no text in UTF-8; results could not be stored")
    container = dict(container)
    name = (container.get("algorithm") or {}).get("name")
    settings = _settings(name, (container.get("algorithm") or {}).get("module"))
    try:
        container["algorithm"] = settings(**container["algorithm"])
    except ValidationError as error:
        raise ConfigError(_line(error, "algorithm.", _place(container["algorithm"]), settings)) from None
    try:
        config = Config(**container)
    except ValidationError as error:
        raise ConfigError(_line(error, "", shown("config.yaml"), Config)) from None
    _check(config)
    return config


def _texts(value: Any) -> Iterator[str]:
    """All strings within."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _texts(part)


def _place(numbers: dict) -> str:
    """Where an algorithm's numbers are to be changed."""
    module = numbers.get("module")
    return f"Settings of {module}" if module else shown(f"algorithm/{numbers['name']}.yaml")


def _settings(name: str | None, module: str | None) -> type[AlgorithmSettings]:
    """The class of an algorithm's numbers. Raises ConfigError where there is no such algorithm."""
    if name != "custom":
        if name not in algorithm.NAMES:
            known = ", ".join(algorithm.NAMES)
            raise ConfigError(f"algorithm.name={name}: not one of {known}, or custom for a module of your own")
        if module is not None:
            raise ConfigError(f"algorithm.module={module}: {name} has none; a module of your own is algorithm=custom")
        return algorithm.page(name).Settings
    if module in (None, "", "???"):
        raise ConfigError("algorithm.module: a value is missing; algorithm=custom needs the name of a module of yours")
    try:
        page = algorithm.page(name, module)
    except (Exception, SystemExit) as error:  # whatever the module raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"algorithm.module={module}: cannot be imported: {reason} "
            "(modules are found in the current folder, in PYTHONPATH and among installed packages)"
        ) from None
    settings = getattr(page, "Settings", None)
    lacking = [what for what in ("start", "update") if not callable(getattr(page, what, None))]
    if not (isinstance(settings, type) and issubclass(settings, AlgorithmSettings)):
        lacking.insert(0, "a class Settings(study.settings.AlgorithmSettings)")
    if lacking:
        raise ConfigError(f"algorithm.module={module}: lacks {', '.join(lacking)}; study/algorithm/ has examples")
    return settings


def _check(config: Config) -> None:
    """What no single field can say."""
    if not config.task.name.strip():
        raise ConfigError(f"task.name={config.task.name!r}: a task needs a name (command line)")
    if config.total_steps < config.horizon:
        raise ConfigError(
            f"total_steps={config.total_steps}: must be at least one rollout, horizon={config.horizon} "
            f"environment steps (command line or {shown('config.yaml')})"
        )
    if config.horizon == 1 and config.advantage_normalization != "none":
        raise ConfigError(
            f"horizon=1: with advantage_normalization={config.advantage_normalization} the only advantage is always 0 "
            "and nothing is learned; a longer horizon, or advantage_normalization=none"
        )
    whole = hasattr(config.algorithm, "cg_iterations") or getattr(config.algorithm, "full_batch", False)
    if config.minibatch_size == 1 and config.advantage_normalization == "minibatch" and not whole:
        raise ConfigError(
            "minibatch_size=1: with advantage_normalization=minibatch every advantage is 0 and nothing is learned; "
            "a larger minibatch, or advantage_normalization=batch or none"
        )
    if not config.observation_normalization and config.observation_clip is not None:
        raise ConfigError(
            f"observation_normalization=false: raw observations would be cut off at +-{config.observation_clip:g}; "
            "with it, observation_clip=null"
        )
    if config.anneal_clip_range and not hasattr(config.algorithm, "clip_epsilon"):
        raise ConfigError(
            f"anneal_clip_range=true: {config.algorithm.name} has no clip_epsilon, nothing would change; leave it false"
        )
    if config.state_dependent_std and hasattr(config.algorithm, "std_bound"):
        raise ConfigError(
            f"state_dependent_std=true: {config.algorithm.name} projects one std for all states; leave it false"
        )
    if config.anneal_learning_rate and hasattr(config.algorithm, "rate_min"):
        raise ConfigError(
            f"anneal_learning_rate=true: {config.algorithm.name} has its own rule for the learning rate; leave it false"
        )
    if config.horizon % config.minibatch_size:
        raise ConfigError(
            f"minibatch_size={config.minibatch_size}: must divide horizon={config.horizon} ({shown('config.yaml')})"
        )
    if config.horizon % (2 * config.diagnostics.fisher_stride):
        raise ConfigError(
            f"diagnostics.fisher_stride={config.diagnostics.fisher_stride}: twice it must divide "
            f"horizon={config.horizon} ({shown('config.yaml')})"
        )
    if "\0" in config.name or {"", ".", "..", ".work"} & set(config.name.split("/")):
        raise ConfigError(f"name={config.name!r}: must be a folder name below {config.execution.results}/")


def _fields(part: str) -> list[str]:
    return list(Config.model_fields[part].annotation.model_fields)


def _line(error: ValidationError, prefix: str, file: str, model: type[BaseModel]) -> str:
    """Pydantic's first complaint as one line in our words, with a count of the others."""
    first, *others = error.errors()
    key = prefix + ".".join(str(part) for part in first["loc"])
    change = f"(change it in {file} or on the command line)"
    if first["type"] == "extra_forbidden":
        for part in first["loc"][:-1]:
            model = model.model_fields[part].annotation
        group, _, name = key.rpartition(".")
        own = [f"{group}.{each}" for each in model.model_fields] if group else []
        nested = [f"{part}.{each}" for part in ("execution", "diagnostics") for each in _fields(part)]
        close = spelling.likely(key, [*own, *Config.model_fields, *nested])
        meant = f"; did you mean {close[0]}?" if close else f"; {why}" if (why := spelling.NONE.get(name)) else ""
        text = f"{key}={first['input']}: unknown key; see {file} for the keys there are{meant}"
    elif first["type"] == "tuple_type":
        text = f"{key}={first['input']}: must be a list, {key}=[{first['input']}] {change}"
    else:
        given = "" if first["type"] == "missing" else f"={first['input']}"
        text = f"{key}{given}: {first['msg'][0].lower()}{first['msg'][1:]} {change}"
    return text + (f" (and {len(others)} more)" if others else "")
