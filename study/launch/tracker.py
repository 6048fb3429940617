"""TensorBoard event files of what is in curves.parquet."""

import json
import shutil
from pathlib import Path

from study.launch import disk
from study.settings import ConfigError


def check(choice: str) -> None:
    """Raises ConfigError before anything is trained if the tracker is not installed."""
    if choice == "tensorboard":
        try:
            import tensorboard  # noqa: F401
        except ImportError:
            raise ConfigError("execution.tracker=tensorboard: needs it: pip install tensorboard") from None


def write(study: Path, results: list) -> None:
    """Event files in tensorboard/TASK/ARM/seed=SEED, over environment steps; a run's earlier ones are replaced.

    A name that no folder can have is shortened (disk.filename); the run's whole names are in its text "run".
    """
    from torch.utils.tensorboard import SummaryWriter

    for result in results:
        if result.curves is None:
            continue
        config = result.config
        names = disk.filename(config.task_label), disk.filename(config.arm), f"seed={config.seed}"
        folder = study.joinpath("tensorboard", *names)
        shutil.rmtree(folder, ignore_errors=True)
        with SummaryWriter(folder, max_queue=10_000) as writer:
            names = {"task": config.task_label, "arm": config.arm, "seed": config.seed, "run_id": config.run_id}
            writer.add_text("run", f"    {json.dumps(names, ensure_ascii=False)}")  # Markdown: four spaces make it code
            for name in result.curves.columns.drop(["run_id", "iteration", "env_steps"]):
                known = result.curves[["env_steps", name]].dropna()
                for steps, number in known.itertuples(index=False):
                    writer.add_scalar(name, float(number), int(steps))
