"""The command line: python -m study [-m] KEY=VALUE ..."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONF = Path(__file__).parent / "conf"


def one(cfg: DictConfig) -> dict | None:
    """Trains one composed run; its row of runs.parquet."""
    return _train(lambda: ([_parsed(cfg)], []))[0]


def many(jobs: list, refused: list) -> list[dict | None]:
    """Trains a sweep's jobs in fleets; their rows of runs.parquet. The fleet launcher calls this.

    A job has its arm's config and its seed; refused are (overrides, exception) of those that do not compose.
    """
    from study.config import ConfigError

    def parse_all():
        arms, configs, wrong = {}, [], [(words, explain(error)) for words, error in refused]
        for job in jobs:
            try:
                if id(job.arm) not in arms:
                    arms[id(job.arm)] = _parsed(job.arm), _mentions_seed(job.arm)
                config, by_seed = arms[id(job.arm)]
                if job.seed is not None:
                    config = _parsed(job.cfg) if by_seed else config.with_seed(job.seed)
                configs.append(config)
            except ConfigError as error:
                wrong.append((job.overrides, str(error)))
        if wrong and not (configs and configs[0].execution.dry_run):
            raise ConfigError(wrong[0][1])
        return configs, wrong

    return _train(parse_all)


def _train(parse_all: Callable) -> list[dict | None]:
    """Exits with 2 if a run is refused (nothing is trained then), with 1 if one failed or nothing more can be
    kept, with 128 + signal if stopped; what is finished is kept."""
    from study import cluster, disk, preview, sweep
    from study.config import ConfigError

    try:
        configs, refused = parse_all()
        if configs[0].execution.dry_run:
            preview.show(configs, refused)
            return [None] * len(configs)
        rows = sweep.run(configs)
    except ConfigError as error:
        sweep.refuse(error)
    except (disk.Unwritable, cluster.Lost) as error:
        sweep.console.print(f"[red]error:[/] {error}. What is finished is kept; the same command goes on")
        sys.exit(1)
    except sweep.Interrupted as stop:
        sweep.console.print(str(stop))
        sys.exit(128 + stop.number)
    if (rows["status"] == "failed").any():
        sys.exit(1)
    return rows.to_dict("records")


def _parsed(cfg: DictConfig):
    from study.config import parse

    container = OmegaConf.to_container(cfg, resolve=False)
    container.pop("hydra", None)
    return parse(OmegaConf.to_container(OmegaConf.create(container), resolve=True))


def _mentions_seed(cfg: DictConfig) -> bool:
    """Whether another value of the config is made from the seed, as in name=x${seed}."""
    return re.search(r"\$\{[^}]*seed", str({key: cfg._get_node(key) for key in cfg if key != "hydra"})) is not None


one.many = many


def explain(error: Exception) -> str:
    """A composition error as one line: what was given, what is allowed, where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = lines[0] if lines else type(error).__name__
    options = [line for line in lines[1:] if " " not in line]
    if message.startswith("In 'config': Could not find") and options:
        given = message.removeprefix("In 'config': ")
        return f"{given}; there are {', '.join(options)} (study/conf/)"
    if "to append to your config" in str(error).lower():
        key = message.split("'")[1]
        group = f"study/conf/{key.split('.')[0]}/" if "." in key else "study/conf/config.yaml"
        return f"{key}: the chosen configuration has no such key; {group} lists those there are"
    if "missing mandatory value" in message.lower():
        return f"{message.split()[-1]}: a value is missing; give it on the command line"
    return message


def main() -> None:
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises instead of printing; we print one line
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(one)()
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoints", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
