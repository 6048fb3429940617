"""The command line: python -m study [-m] KEY=VALUE ..."""

import os
import sys
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONF = Path(__file__).parent.parent / "conf"


def one(cfg: DictConfig) -> dict:
    """Trains one composed run; its row of runs.parquet."""
    return many([cfg])[0]


def many(cfgs: list[DictConfig]) -> list[dict]:
    """Trains composed runs in fleets; their rows of runs.parquet. The fleet launcher calls this.

    Exits with 2 if a run is refused (nothing is trained then), with 1 if one failed (the others are kept).
    """
    from study import disk, sweep
    from study.config import ConfigError, parse

    try:
        rows = sweep.run([parse(OmegaConf.to_container(cfg, resolve=True)) for cfg in cfgs])
    except ConfigError as error:
        sweep.refuse(error)
    except disk.Unwritable as error:
        sweep.console.print(f"[red]error:[/] {error}. What is finished is kept; the same command goes on")
        sys.exit(1)
    except sweep.Interrupted as stop:
        sweep.console.print(str(stop))
        sys.exit(128 + stop.number)
    if (rows["status"] == "failed").any():
        sys.exit(1)
    return rows.to_dict("records")


one.many = many


def explain(error: Exception) -> str:
    """A composition error as one line: what was given, what is allowed, where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = lines[0] if lines else type(error).__name__
    options = [line for line in lines[1:] if " " not in line]
    if message.startswith("In 'config': Could not find") and options:
        given = message.removeprefix("In 'config': ")
        return f"{given}; there are {', '.join(options)} (conf/)"
    if "to append to your config" in str(error).lower():
        key = message.split("'")[1]
        group = f"conf/{key.split('.')[0]}/" if "." in key else "conf/config.yaml"
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
