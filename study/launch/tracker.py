"""A copy of what is in curves.parquet for a tracker: TensorBoard's event files, or runs of wandb or trackio."""

import importlib
import io
import json
import os
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from study.launch import disk
from study.settings import ConfigError

APART = ["run_id", "iteration", "env_steps"]  # columns that are no curves


def check(choice: str) -> None:
    """Raises ConfigError before anything is trained if the tracker is not installed."""
    if choice == "none":
        return
    try:
        library = importlib.import_module(choice)
        if library.__file__ is None:  # a folder of that name, as wandb itself makes
            raise ImportError
    except ImportError:
        raise ConfigError(f"execution.tracker={choice}: needs it: pip install {choice}") from None


def write(choice: str, study: Path, results: list) -> None:
    """The curves of finished runs, over environment steps."""
    for result in results:
        if result.curves is not None:
            (_event_files if choice == "tensorboard" else _run)(choice, study, result)


def _event_files(_, study: Path, result) -> None:
    """In tensorboard/TASK/ARM/seed=SEED; a run's earlier ones are replaced.

    A name that no folder can have is shortened (disk.filename); the run's whole names are in its text "run".
    """
    from torch.utils.tensorboard import SummaryWriter

    config = result.config
    folder = study.joinpath(
        "tensorboard", disk.filename(config.task_label), disk.filename(config.arm), f"seed={config.seed}"
    )
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(folder, max_queue=10_000) as writer:
        # Markdown: four spaces make it code
        writer.add_text("run", f"    {json.dumps(_names(config), ensure_ascii=False)}")
        for name in result.curves.columns.drop(APART):
            known = result.curves[["env_steps", name]].dropna()
            for steps, number in known.itertuples(index=False):
                writer.add_scalar(name, float(number), int(steps))


def _run(choice: str, study: Path, result) -> None:
    """A run of the project that has the study's name; arms are its groups.

    Without a network: wandb writes to wandb/ in the study's folder unless WANDB_MODE=online; trackio is local.
    """
    library, config = importlib.import_module(choice), result.config
    settings = config.model_dump(mode="json", exclude={"execution"}, serialize_as_any=True)
    outcome = {name: getattr(result, name) for name in ("status", "final_return", "auc_return", "wall_seconds")}
    options: dict[str, Any] = {
        "project": config.name.replace("/", "-"),
        "name": f"{config.task_label} {config.arm} seed={config.seed}",
        "group": f"{config.task_label} {config.arm}",
        "config": settings | _names(config) | outcome,
    }
    if choice == "wandb":
        for old in study.glob(f"wandb/*-{config.run_id}"):
            shutil.rmtree(old, ignore_errors=True)
        quiet = library.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True, save_code=False)
        mode = os.environ.get("WANDB_MODE", "offline")  # it would ask for a login, and training would wait
        options |= {"id": config.run_id, "dir": str(study), "mode": mode, "settings": quiet, "reinit": "create_new"}
    else:
        options |= {"embed": False, "auto_log_gpu": False}
    with redirect_stdout(io.StringIO()):  # trackio says where its dashboard is, for every run
        run = library.init(**options)
        try:
            for row in result.curves.drop(columns=["run_id"]).to_dict("records"):
                run.log({name: value for name, value in row.items() if value == value}, step=int(row["env_steps"]))
        finally:
            (run if choice == "wandb" else library).finish()  # trackio finishes a run at exit again, and says so


def _names(config) -> dict[str, Any]:
    return {"task": config.task_label, "arm": config.arm, "seed": config.seed, "run_id": config.run_id}
