"""The command line: python -m study [-m] KEY=VALUE ..., or a first word that says what to do."""

import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from study import spelling
from study.files import CONF, shown

SWEEP = "(python -m study -m ...)"


def one(cfg: DictConfig) -> dict | None:
    """Trains one composed run; its row of runs.parquet."""
    from study.settings import ConfigError

    def parse_it():
        if reason := _not_one():
            raise ConfigError(reason)
        return [_parsed(cfg)], []

    return _train(parse_it)[0]


def _not_one() -> str | None:
    """Why the command cannot mean one run in this folder."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.RUN:
        return None
    hydra_config = HydraConfig.get()
    if hydra_config.job.chdir:
        return "hydra.job.chdir=true: runs stay in the folder of the command; results go to execution.results"
    if hydra_config.sweeper.get("params") or hydra_config.sweeper.get("grids"):
        given = " ".join(word for word in hydra_config.overrides.task if "experiment" in word.split("=")[0])
        return f"{given or 'hydra.sweeper'} is a sweep: did you mean -m? {SWEEP}"
    return None


def many(jobs: list, refused: list) -> list[dict | None]:
    """Trains a sweep's jobs in fleets; their rows of runs.parquet. The fleet launcher calls this.

    A job has its arm's config and its seed; refused are (overrides, exception) of those that do not compose.
    """
    return _train(lambda: parsed(jobs, refused))


def parsed(jobs: list, refused: list) -> tuple[list, list]:
    """The typed configs of a sweep's jobs, and what is wrong with the others, as (overrides, reason).

    Raises ConfigError if any is, but in a dry run.
    """
    from study.settings import ConfigError

    arms, configs, wrong = {}, [], [(words, explain(error, words)) for words, error in refused]
    for job in jobs:
        try:
            if id(job.arm) not in arms:
                arms[id(job.arm)] = _parsed(job.arm)
            configs.append(arms[id(job.arm)] if job.seed is None else arms[id(job.arm)].with_seed(job.seed))
        except ConfigError as error:
            wrong.append((job.overrides, str(error)))
        except OmegaConfBaseException as error:
            wrong.append((job.overrides, explain(error, job.overrides)))
    if wrong and not (configs and configs[0].execution.dry_run):
        raise ConfigError(wrong[0][1])
    return configs, wrong


def _train(parse_all: Callable) -> list[dict | None]:
    """Exits with 2 if a run is refused (nothing is trained then), with 1 if one failed or nothing more can be
    kept, with 128 + signal if stopped; what is finished is kept."""
    from study.launch import cluster, disk, preview, runner
    from study.settings import ConfigError

    try:
        configs, refused = parse_all()
        if configs[0].execution.dry_run:
            studies = {config.study: [other for other in configs if other.study == config.study] for config in configs}
            shown = [preview.show(some, refused if some[0] is configs[0] else []) for some in studies.values()]
            if not all(shown):
                sys.exit(2)
            return [None] * len(configs)
        rows = runner.run(configs)
    except ConfigError as error:
        runner.refuse(error)
    except (disk.Unwritable, cluster.Lost) as error:
        runner.console.print(f"[red]error:[/] {error}. What is finished is kept; the same command continues")
        sys.exit(1)
    except runner.Interrupted as stop:
        runner.console.print(str(stop))
        sys.exit(128 + stop.number)
    if (rows["status"] == "failed").any():
        sys.exit(1)
    return rows.to_dict("records")


def _parsed(cfg: DictConfig):
    """The typed config. A job of a sweep brings hydra's part along: ${hydra:...} is then of that job."""
    from study.config import parse

    container = OmegaConf.to_container(cfg, resolve=False)
    of_command = HydraConfig.instance().cfg
    if container.pop("hydra", None):
        HydraConfig.instance().set_config(cfg)
    try:
        _check_of_hydra(container)
        resolved = OmegaConf.to_container(OmegaConf.create(container), resolve=True)
    finally:
        HydraConfig.instance().cfg = of_command
    return parse(resolved)


def _check_of_hydra(container: dict) -> None:
    """Hydra gives None for what it does not have, as job.num of a run alone. Raises ConfigError."""
    from study.settings import ConfigError

    for key in re.findall(r"\$\{hydra:([\w.]+)\}", repr(container)):
        held = HydraConfig.instance().cfg
        if held is None or OmegaConf.select(held.hydra, key, default=one) is one:
            of_job = "; a run alone is no job of a sweep, it has no number" if key in ("job.num", "job.id") else ""
            raise ConfigError(f"${{hydra:{key}}}: Hydra has no such value{of_job}")


one.many = many


def explain(error: Exception, overrides: Sequence[str] = ()) -> str:
    """A composition error as one line: what was given, what is allowed, where. overrides are those that met it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = lines[0] if lines else type(error).__name__
    if "--multirun" in str(error):
        given = message.split("'")[1]
        return f"{given} names several runs: did you mean -m? {SWEEP}; a list is written [1,2]"
    if missing := re.match(r"In '.*': Could not find '(.*)'", message):
        options = [line for line in lines[1:] if " " not in line]
        group, _, name = missing[1].partition("/") if missing[1].startswith("task/") else missing[1].rpartition("/")
        where = "" if group.startswith("hydra") else f" ({shown()})"
        there = f"; there are {', '.join(options)}{where}" if options else ""
        close = spelling.option(name, options)
        environment = spelling.environment(name) if group == "task" else None
        if environment:
            files = [path.stem for path in CONF.glob("task/*.yaml") if OmegaConf.load(path).get("id") == environment]
            either = f"task={files[0]}, or " if files else ""
            return f"Could not find '{missing[1]}'; did you mean {either}task=custom task.id={environment}?{there}"
        return f"Could not find '{missing[1]}'{f'; did you mean {close}?' if close else ''}{there}"
    if "to append to your config" in str(error).lower():
        return _unknown(message.split("'")[1], overrides)
    if word := re.match(r"Error parsing override '([\w./-]+)'", message):  # without =
        close = spelling.option(word[1], FIRST)
        suggested = f"; did you mean {close}?" if close else ""
        return f"{word[1]}: must be KEY=VALUE, or first of all one of {', '.join(FIRST)}{suggested}"
    if message.startswith("Error parsing override"):
        quoted = (
            "; an interpolation within another one needs quotes, KEY='\"${...}\"' in a shell" if "${" in message else ""
        )
        return f"{message}: {lines[1] if len(lines) > 1 else 'no value'}{quoted}"
    if "HydraConfig was not set" in message:
        return "${hydra:...} among hydra.sweeper's values has no job yet; as a word of the command each job resolves it"
    if no_file(error):
        groups = [word for word in overrides if word.split("=")[0] in ("task", "algorithm")] or ["task, algorithm"]
        return f"{', '.join(groups)}: must be the name of a file in {shown()}"
    if "missing mandatory value" in message.lower():
        return f"{message.split()[-1]}: a value is missing; give it on the command line"
    return message


def no_file(error: Exception) -> bool:
    """Whether it is Hydra's answer to task=null."""
    return str(error).startswith("Config group override must be")


def _unknown(key: str, overrides: Sequence[str]) -> str:
    """What is known instead of a key that the chosen configuration does not have."""
    cfg = _composed([word for word in overrides if word.lstrip("+~").split("=")[0] != key])
    *above, name = key.split(".")
    node = OmegaConf.select(cfg, ".".join(above)) if above else cfg
    names = [each for each in node if each != "hydra"] if isinstance(node, DictConfig) else []
    group = above[0] if above else ""
    choice = cfg.hydra.runtime.choices.get(group)
    file = shown(f"{group}/{choice}.yaml" if choice else "config.yaml")
    text = f"{key}: " + (f"{group}={choice} has no such key" if choice else "there is no such key") + f" ({file})"
    if name in spelling.NONE:
        return f"{text}; {spelling.NONE[name]}"
    own = _keys(OmegaConf.to_container(cfg, resolve=False))
    pages = {path.stem: list(OmegaConf.load(path)) for path in sorted((CONF / "algorithm").glob("*.yaml"))}
    algorithms = [f"algorithm.{each}" for page in pages.values() for each in page] if group != "task" else []
    known = sorted([*own, *algorithms], key=lambda each: not each.startswith("algorithm."))
    if found := spelling.likely(key, known):
        best = next((each for each in found if each in own and each.startswith("algorithm.")), found[0])
        owners = [page for page in pages if best.removeprefix("algorithm.") in pages[page]] if best not in own else []
        of = f", of algorithm={', '.join(owners)}" if owners else ""
        return f"{text}; did you mean {best}{of}?"
    if above and not names and (found := spelling.likely(".".join(above), known)):
        return f"{text}; did you mean {found[0]}.{name}?"
    return text + (f"; it has {', '.join(names)}" if above and names else "")


def _keys(container: dict, prefix: str = "") -> list[str]:
    """All keys of a configuration but hydra's and the environment's, with dots."""
    keys = []
    for key, value in container.items():
        if key != "hydra":
            within = isinstance(value, dict) and key != "kwargs"
            keys += [f"{prefix}{key}", *(_keys(value, f"{prefix}{key}.") if within else [])]
    return keys


def _composed(overrides: Sequence[str]) -> DictConfig:
    """The configuration, hydra's part included, of overrides without the wrong one; else of none."""
    from hydra import compose, initialize_config_dir

    if not GlobalHydra.instance().is_initialized():
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return _composed(overrides)
    try:
        return compose("config", list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException):
        return compose("config", return_hydra_config=True)


def _completion() -> str | None:
    from study.launch.completion import INSTALL, UNINSTALL

    return {"install=bash": INSTALL, "uninstall=bash": UNINSTALL}.get(sys.argv[-1])


def _overrides() -> list[str]:
    """Of the command line, with the folder of --config-dir as one of them."""
    arguments = get_args_parser().parse_args()
    own = [f"hydra.searchpath=[file://{Path(arguments.config_dir).absolute()}]"] if arguments.config_dir else []
    return [*arguments.overrides, *own]


OTHERS = ("status", "merge", "remove", "play")  # python -m study.status ... is python -m study status ...
FIRST = ("train", "sweep", *OTHERS)


def main() -> None:
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first in OTHERS:
        del sys.argv[1]
        return importlib.import_module(f"study.launch.{first}").main()
    if first in ("train", "sweep"):
        sys.argv[1:2] = ["-m"] if first == "sweep" else []
    if {"-sc", "--shell-completion"} & set(sys.argv) and (script := _completion()):
        print(script)
        return
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises instead of printing; we print one line
    from hydra_plugins.fleet.sweeper import of_each_job, open_settings

    sys.argv[1:] = open_settings(sys.argv[1:])
    if {"-m", "--multirun"} & set(sys.argv):
        sys.argv[1:] = of_each_job(sys.argv[1:])
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(one)()
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {explain(error, _overrides())}", file=sys.stderr)
        sys.exit(2)
    except ValueError as error:
        if not no_file(error):
            raise
        print(f"error: {explain(error, _overrides())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command continues from the last checkpoints", file=sys.stderr)
        sys.exit(130)
