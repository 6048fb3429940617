"""One or more studies as two frames, and what is missing from them."""

import json
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml

from . import scale
from .defaults import defaults
from .names import arm_names, counted, spaced, spelled

# The number each algorithm is tuned by, and the value its authors recommend.
KNOBS = {
    "kl_fixed": ("beta", None),
    "kl_adaptive": ("kl_target", 0.01),
    "trpo": ("max_kl", 0.01),
    "clip": ("clip_epsilon", 0.2),
    "kl_bisect": ("kl_target", 0.01),
    "kl_dual": ("kl_target", 0.01),
    "natural_gradient": ("beta", None),
}
KNOB_COLUMNS = ["beta", "kl_target", "max_kl", "clip_epsilon"]

RUN_COLUMNS = [
    "run_id", "task", "algorithm", "arm", *KNOB_COLUMNS, "seed", "total_steps",
    "status", "final_return", "auc_return", "wall_seconds", "commit", "config",
]  # fmt: skip
WORDS = ["run_id", "task", "algorithm", "arm", "status"]  # columns that are never null
YOUNGER_RUN_COLUMNS = ["condition", "overrides"]  # `_younger` gives them to studies without them
CURVE_COLUMNS = [
    "env_steps", "episodes", "return_mean", "return_last100", "kl_after", "kl_attempted",
    "surrogate_gain", "entropy", "beta", "implied_beta", "implied_beta_crossfit",
    "sigma_advantage", "cg_residual", "backtracks", "accepted", "explained_variance",
    "value_loss", "max_ratio", "score_share", "gradient_norm", "clipped_share", "kl_max", "kl_p99",
]  # fmt: skip
REQUIRED_CURVE_COLUMNS = {"run_id", "iteration", "env_steps", "return_mean", "kl_after"}

NAMES = ["task", "total_steps", "arm", "condition", "seed", "failed"]  # what tells runs apart
EVIDENCE = Path(__file__).resolve().parents[1] / "results"  # of this repository
PHASES = 5  # fifths of training
RAW = "advantage_normalization=none"
FEW = 4  # lines that the first screen of a report has room for


class StudyError(Exception):
    """A study that cannot be read; the message is one line for the user."""


@dataclass
class Study:
    """Runs and curves on one set of row numbers.

    - `runs`: one row per usable run; its index is the number that `curves.run` refers to. `arm` is without its
      condition, `label` with it. Beside the columns of runs.parquet: `condition` (settings of the protocol that
      differ from the default, "" for none), `family` (the algorithm and its settings other than the knob), `knob` (of
      an algorithm of one's own the number that was swept), `setting` (the knob's value), `changes` (the settings of
      `condition` as a dict), `advantages` ("normalised", "centred" or "raw"), `untrained` (return of the untrained
      policy of the task), `score` (final return; a diverged run scores as the untrained policy), `horizon` (steps of
      a rollout), `study` (the folder it is in), `studies` (all folders it is in), `registered` (commit of the study's
      registration, "" without one), `evidence` (whether the study's README.md has that entry), `fork` (steps of the
      source at which a fork begins, NaN for other runs) and the task's scale (`analysis.scale`).
    - `curves`: one row per run and iteration, sorted; beside the columns of curves.parquet `run` and `progress` (0 to
      1: the share of the run's budget already used).
    - `missing`: one row per run that the grid implies and the files lack, with the command that makes it.
    - `notes`, `warnings`, `left_out`: lines for the reader. `left_out` says which runs of the files are not among
      `runs`, and why; a report's first screen has these and `warnings`.
    """

    name: str
    directories: list
    runs: pd.DataFrame
    curves: pd.DataFrame
    missing: pd.DataFrame
    notes: list = field(default_factory=list)
    warnings: list = field(default_factory=list)
    left_out: list = field(default_factory=list)
    whole: "Study | None" = None  # the study with every budget, of one that has had others taken out
    arm_names: dict = field(default_factory=dict)  # what legends call arms and families, with and without condition

    @property
    def tasks(self):
        """Names of the tasks, in alphabetical order."""
        return sorted(self.runs["task"].unique())

    @cached_property
    def main_condition(self):
        """The condition with most arms; of several such the one with most runs, and then with fewest settings."""
        arms = self.runs.groupby("condition")["arm"].agg(["nunique", "size"])
        return max(sorted(arms.index, key=len), key=lambda condition: tuple(arms.loc[condition]))

    @property
    def contents(self):
        """ "kl_fixed (3 values of beta; horizon=1024), trpo (1 value of max_kl)": what there is, by condition."""
        parts = []
        for (algorithm, condition), runs in self.runs.groupby(["algorithm", "condition"]):
            count, knob = runs["setting"].nunique(), runs["knob"].iloc[0]
            what = [f"{counted(count, 'value')} of {knob}"] if knob else []
            parts.append(f"{algorithm} ({'; '.join([*what, *filter(None, [condition])])})".replace(" ()", ""))
        return ", ".join(parts[:12]) + (f" and {len(parts) - 12} more" if len(parts) > 12 else "")

    @cached_property
    def raw_condition(self):
        """The condition with raw advantages and nothing else, or the most frequent one with them, or None."""
        raw = self.runs.loc[self.runs["advantages"] == "raw", "condition"]
        if (raw == RAW).any():
            return RAW
        return None if raw.empty else raw.mode().iloc[0]

    def of(self, keep):
        """The study of the runs for which `keep`, a mask by the rows of `runs`; scores stay as they are."""
        number = pd.Series(np.arange(keep.sum(), dtype=np.int32), index=self.runs.index[keep])
        curves = self.curves[self.curves["run"].isin(number.index)]
        curves = curves.assign(run=curves["run"].map(number)).reset_index(drop=True)
        return replace(
            self,
            runs=self.runs[keep].reset_index(drop=True),
            curves=curves,
            notes=list(self.notes),
            warnings=list(self.warnings),
            left_out=list(self.left_out),
        )

    @cached_property
    def of_one_budget(self):
        """The study with each task's most frequent budget (the larger of two equally frequent), said in `left_out`.

        Figures that average over arms take a task to have one budget: that of most runs of the main condition.
        """
        main = self.runs["condition"] == self.main_condition
        count = main.groupby([self.runs["task"], self.runs["total_steps"]]).agg(["sum", "size"]).reset_index()
        best = count.sort_values(["sum", "size", "total_steps"]).groupby("task")["total_steps"].last()
        keep = self.runs["total_steps"] == self.runs["task"].map(best)
        if keep.all():
            return self
        study = replace(self.of(keep), whole=self)
        study.missing = self.missing[self.missing["total_steps"] == self.missing["task"].map(best)]
        lines = [
            f"{counted(len(rest), 'run')} of {task} with {spaced(steps)} steps left out: most "
            f"runs of the task have {spaced(best[task])}."
            for (task, steps), rest in self.runs[~keep].groupby(["task", "total_steps"])
        ]
        if len(lines) > FEW:
            study.notes += lines
            tasks = self.runs.loc[~keep, "task"].nunique()
            lines = [
                f"{counted((~keep).sum(), 'run')} of {counted(tasks, 'task')} left out, because most runs of their "
                "task have more or fewer steps; the end of the report lists them. The questions read every budget."
            ]
        study.left_out += lines
        _score(study)
        return study

    def only(self, arms: str | Iterable[str] | None = None, tasks: str | Iterable[str] | None = None) -> "Study":
        """The study of some arms (as runs.parquet or `runs.arm` calls them, or algorithms) and tasks; scores stay.

        A name or a list of names; None for all. Raises StudyError for a name that the study has not.
        """
        keep = pd.Series(True, index=self.runs.index)
        missing = self.missing
        for word, given, columns in (("arm", arms, ["label", "arm", "algorithm"]), ("task", tasks, ["task"])):
            if given is None:
                continue
            given = [given] if isinstance(given, str) else list(given)
            known = list(dict.fromkeys(name for column in columns for name in sorted(self.runs[column].unique())))
            for name in given:
                if name not in known:
                    raise StudyError(f"no {word} {name!r} in {self.name}; there are {', '.join(known)}")
            keep &= self.runs[columns].isin(given).any(axis=1)
            labelled = missing.assign(label=(missing["arm"] + " " + missing["condition"]).str.strip())
            missing = missing[labelled[columns].isin(given).any(axis=1)]
        if not keep.any():
            raise StudyError(f"no run in {self.name} is of these arms and of these tasks")
        return replace(self.of(keep), missing=missing)

    def under(self, condition):
        return self.runs[self.runs["condition"] == condition]

    @property
    def main(self):
        """Runs of the main condition."""
        return self.under(self.main_condition)

    @cached_property
    def bins(self):
        """Number of equal parts of training that curves are averaged over."""
        iterations = np.bincount(self.curves["run"], minlength=len(self.runs))
        longest = pd.Series(iterations).groupby(self.runs["total_steps"].to_numpy()).max()
        return int(max(1, min(50, longest.min())))

    @cached_property
    def steps(self):
        """[run] environment steps of the full budget, as the longest run of it and of the same horizon counts them."""
        last = np.zeros(len(self.runs))
        np.maximum.at(last, self.curves["run"].to_numpy(), self.curves["env_steps"].to_numpy())
        budget = [self.runs[name].to_numpy() for name in ("total_steps", "horizon")]
        return pd.Series(last).groupby(budget).transform("max").to_numpy()

    def over_training(self, column: str | np.ndarray, parts: int | None = None) -> np.ndarray:
        """[run, part] mean of a curve's column (or of as many values) in equal parts of training; NaN where none.

        As many parts as the shortest runs allow, 50 at most, unless said otherwise.
        """
        parts = parts or self.bins
        values = self.curves[column].to_numpy(dtype=float) if isinstance(column, str) else column
        # 1e-4: the last iteration of a part belongs to it in spite of float32 rounding.
        part = np.ceil(self.curves["progress"].to_numpy(dtype=float) * parts - 1e-4).astype(int) - 1
        key = self.curves["run"].to_numpy() * parts + np.clip(part, 0, parts - 1)
        finite = np.isfinite(values)
        size = len(self.runs) * parts
        count = np.bincount(key[finite], minlength=size)
        total = np.bincount(key[finite], weights=values[finite], minlength=size)
        with np.errstate(invalid="ignore"):
            return (total / np.where(count, count, np.nan)).reshape(len(self.runs), parts)


@defaults()
def load(directories: str | Path | Iterable[str | Path] | None = None, whole_seeds: bool = False) -> "Study":
    """The study in a directory, those in several as one `Study`, or all committed evidence.

    Evidence is every folder of results/ whose README.md says where the study was registered.
    A run found twice (same run_id) counts once: as a study has it that belongs to the sample of a question, else as the
    one has it that was registered first. A `failed` run counts as missing.

    `whole_seeds` keeps only the seeds that are complete in every task and arm of a condition.

    Raises StudyError for a directory that holds no study or a damaged one.
    """
    if isinstance(directories, str | Path):
        directories = [directories]
    left_out = [] if directories is not None else [_in_training(folder) for folder in in_training()]
    directories = evidence() if directories is None else [Path(directory) for directory in directories]
    for directory in directories:
        if not directory.is_dir():
            raise StudyError(f"no such directory: {directory}")
        for name in ("runs.parquet", "curves.parquet"):
            if not (directory / name).is_file():
                raise StudyError(f"no study in {directory}: {name} is missing")
    name = " + ".join(directory.name for directory in directories)
    heads = {directory: head(directory) for directory in directories}
    directories = sorted(heads, key=lambda own: ("sample" not in heads[own], heads[own].get("date", "later")))
    every_run = pd.concat([_read_runs(directory) for directory in directories], ignore_index=True)
    if every_run.empty:
        raise StudyError(f"no runs in {', '.join(map(str, directories))}")
    # A run that failed in one study may have been completed in another.
    every_run["failed"] = every_run["status"] == "failed"
    every_run["studies"] = every_run["run_id"].map(every_run.groupby("run_id")["study"].agg(tuple))
    every_run = every_run.sort_values("failed", kind="stable").drop_duplicates("run_id")
    (described, called), warnings = _describe(every_run), []
    # The same run under two names: trained again for another study.
    repeated = described.duplicated(NAMES)
    if repeated.any():
        _refuse_different(described)
        left_out.append(f"{counted(repeated.sum(), 'run')} found in two studies, counted once.")
    described = described[~repeated]
    usable = described[~described["failed"]]
    missing = _missing(described)
    if whole_seeds and not missing.empty:
        ragged = set(zip(missing["condition"], missing["seed"]))
        keep = [pair not in ragged for pair in zip(usable["condition"], usable["seed"])]
        left_out.append(
            f"Only whole seeds are used: {counted(len(usable) - sum(keep), 'run')} of "
            f"{counted(len(ragged), 'incomplete seed')} left out."
        )
        usable, missing = usable[keep], missing.iloc[:0]
    if usable.empty:
        raise StudyError(f"every run in {', '.join(map(str, directories))} has failed")
    endless = usable[(usable["status"] == "complete") & usable["final_return"].isna()]
    if len(endless):
        warnings.append(
            f"No episode ended in {counted(len(endless), 'run')} ({', '.join(sorted(endless['task'].unique()))}); "
            "final_return cannot be measured: give a time limit, task.max_episode_steps=N, or task.kwargs."
        )
    usable = usable.sort_values(["condition", "task", "arm", "seed"]).reset_index(drop=True)
    study = Study(
        name=name,
        directories=directories,
        runs=usable,
        curves=_read_curves(directories, usable),
        missing=missing,
        warnings=warnings,
        left_out=left_out,
        arm_names=called,
    )
    study.curves["progress"] = (study.curves["env_steps"] / study.steps[study.curves["run"]]).astype(np.float32)
    _score(study)
    scale.add(study)
    return _with_returns(study)


def _refuse_different(runs):
    """Raises StudyError where runs of one name were made with different settings."""
    for name, group in runs[runs.duplicated(NAMES, keep=False)].groupby(NAMES):
        configs = [json.loads(config or "{}") for config in group["config"]]
        different = {
            key
            for config in configs[1:]
            for key in (config.keys() | configs[0].keys()) - {"name", "total_steps"}
            if config.get(key) != configs[0].get(key)
        }
        if different:
            raise StudyError(
                f"{name[0]} {name[1]} seed {name[3]}: {len(group)} different runs of one name, they differ in "
                f"{', '.join(sorted(different))} ({', '.join(sorted(set(group['study'])))}): read them apart"
            )


def _read_runs(directory):
    try:
        runs = pq.read_table(directory / "runs.parquet", page_checksum_verification=True).to_pandas()
    except Exception as error:
        raise StudyError(f"cannot read {directory / 'runs.parquet'}: {' '.join(str(error).split())}") from error
    words = runs.select_dtypes("category").columns  # as pandas may have written them
    runs = runs.astype(dict.fromkeys(words, object))
    absent = [column for column in RUN_COLUMNS if column not in runs]
    if absent:
        raise StudyError(f"{directory / 'runs.parquet'} lacks the columns {', '.join(absent)}")
    runs = _younger(runs, directory)
    for column in WORDS:
        if not runs[column].map(lambda value: isinstance(value, str)).all():
            raise StudyError(f"{directory / 'runs.parquet'}: column {column} holds what is no text")
    for column in [*KNOB_COLUMNS, "final_return", "auc_return", "wall_seconds", "seed", "total_steps"]:
        kind = "int64" if column in ("seed", "total_steps") else "float64"
        try:
            runs[column] = pd.to_numeric(runs[column]).astype(kind)
        except (ValueError, TypeError) as error:
            reason = f"column {column} holds what is no number ({error})"
            raise StudyError(f"{directory / 'runs.parquet'}: {reason}") from None
    runs["folder"], runs["study"] = str(directory), directory.name
    own = head(directory)
    runs["registered"], runs["evidence"] = own.get("registered") or "", "registered" in own
    return runs[[*RUN_COLUMNS, *YOUNGER_RUN_COLUMNS, "folder", "study", "registered", "evidence"]]


def _younger(runs, directory):
    """The runs with condition and overrides also where they are older than these columns: as their configurations
    have them today."""
    older = runs.reindex(columns=YOUNGER_RUN_COLUMNS).isna().any(axis=1)
    if not older.any():
        return runs
    from study.config import parse  # which takes seconds to import
    from study.files import CONF
    from study.settings import ConfigError

    execution = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["execution"]
    try:
        configs = [parse(json.loads(config) | {"execution": execution}) for config in runs.loc[older, "config"]]
    except (ConfigError, TypeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise StudyError(f"{directory / 'runs.parquet'} lacks the columns condition, overrides: {text}") from error
    made = [(config.condition, json.dumps(config.overrides)) for config in configs]
    whole = runs.reindex(columns=YOUNGER_RUN_COLUMNS).astype(object)
    whole.loc[older] = pd.DataFrame(made, runs.index[older], YOUNGER_RUN_COLUMNS)
    return runs.assign(**whole.astype(str))


def head(directory):
    """The YAML head of a study's README.md: question, registered (a commit, "" if it was not), date, sample (if
    it belongs to one), complete (false while it is being trained); {} without a head."""
    try:
        text = (Path(directory) / "README.md").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    parts = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else {}


def evidence():
    """Folders of all committed studies, without those that are still being trained, which nobody is to read yet
    (`complete: false` in the head). Raises StudyError without any."""
    found = [folder for folder, complete in _committed() if complete]
    if not found:
        raise StudyError(f"no committed studies in {EVIDENCE}; name folders of your own")
    return found


def in_training():
    """Folders of committed studies that are still being trained."""
    return [folder for folder, complete in _committed() if not complete]


def _committed():
    """[(folder, whether it is complete)] of the studies whose README.md has an entry of their registration."""
    heads = {path.parent: head(path.parent) for path in sorted(EVIDENCE.glob("*/runs.parquet"))}
    return [(folder, known.get("complete", True)) for folder, known in heads.items() if "registered" in known]


def _in_training(folder):
    count = pq.read_metadata(folder / "runs.parquet").num_rows
    return f"{counted(count, 'run')} of {folder.name} left out: it is still being trained."


def _read_curves(directories, runs):
    """Curves of `runs`, column by column in float32 to spare memory. Every complete run must have one."""
    run_ids = runs["run_id"]
    row_of = pd.Series(np.arange(len(run_ids), dtype=np.int32), index=run_ids)
    pieces, taken = [], np.zeros(len(run_ids), dtype=bool)
    for directory in directories:
        path = directory / "curves.parquet"
        try:
            file = pq.ParquetFile(path, read_dictionary=["run_id"], page_checksum_verification=True)
            absent = REQUIRED_CURVE_COLUMNS - set(file.schema_arrow.names)
            if absent:
                raise StudyError(f"{path} lacks the columns {', '.join(sorted(absent))}")
            ids = file.read(columns=["run_id"]).column(0).unify_dictionaries().combine_chunks()
            rows = row_of.reindex(ids.dictionary.to_pylist()).fillna(-1).to_numpy(dtype=np.int32)
            run = rows[ids.indices.to_numpy(zero_copy_only=False)] if len(ids) else np.empty(0, np.int32)
            keep = (run >= 0) & ~taken[run]
            columns = {"run": run[keep]}
            for column in ["iteration", *CURVE_COLUMNS]:
                if column in file.schema_arrow.names:
                    values = file.read(columns=[column]).column(0).to_numpy()
                    if values.dtype == object:  # booleans or numbers with nulls
                        values = pd.to_numeric(pd.Series(values, dtype="float64")).to_numpy()
                    columns[column] = values[keep].astype(np.int32 if column == "iteration" else np.float32)
                else:
                    columns[column] = np.full(keep.sum(), np.nan, dtype=np.float32)
        except StudyError:
            raise
        except Exception as error:
            raise StudyError(f"cannot read {path}: {' '.join(str(error).split())}") from error
        taken[np.unique(columns["run"])] = True
        pieces.append(columns)
    joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    lost = run_ids[~taken & (runs["status"] == "complete").to_numpy()].tolist()
    if lost:
        raise StudyError(f"{len(lost)} complete runs have no curve, the first is run_id {lost[0]}")
    joined = _once(joined, run_ids)
    order = np.lexsort((joined["iteration"], joined["run"]))
    if np.any(order[1:] < order[:-1]):
        joined = {name: values[order] for name, values in joined.items()}
    return pd.DataFrame(joined, copy=False)


def _once(curves, run_ids):
    """`curves` with each (run, iteration) once. Raises StudyError where rows of one differ."""
    frame = pd.DataFrame(curves, copy=False)
    repeated = frame.duplicated(["run", "iteration"])
    if not repeated.any():
        return curves
    different = repeated & ~frame.duplicated()
    if different.any():
        run = run_ids.iloc[frame.loc[different, "run"].iloc[0]]
        raise StudyError(f"curves.parquet: run {run} has iterations that stand there twice with different numbers")
    return {name: frame.loc[~repeated, name].to_numpy() for name in frame}


def _describe(runs):
    """(`runs` with condition, family, knob, setting and advantages, by their columns and their configurations; what
    legends call their arms)."""
    configs = [json.loads(config or "{}") for config in runs["config"]]
    own = [config.get("algorithm") if name == "custom" else None for name, config in zip(runs["algorithm"], configs)]
    swept = _swept([settings for settings in own if settings])
    known = [KNOBS.get(algorithm, (None,))[0] for algorithm in runs["algorithm"]]
    knobs = [swept.get(settings.get("module")) if settings else knob for settings, knob in zip(own, known)]
    runs = runs.assign(label=runs["arm"], knob=knobs)
    runs["setting"] = [settings[knob] if settings and knob else np.nan for settings, knob in zip(own, knobs)]
    given = (runs[column] for column in ("algorithm", "condition", "overrides", "knob"))
    described = [_describe_arm(*row) for row in zip(configs, *given)]
    columns = ["arm", "family", "advantages", "overrides", "changes", "arms"]
    described = pd.DataFrame(described, index=runs.index, columns=columns)
    runs[columns[:-1]] = described[columns[:-1]]
    runs["fork"] = [float((config.get("fork") or {}).get("at", np.nan)) for config in configs]
    runs["horizon"] = [config.get("horizon", 0) for config in configs]
    runs["id"] = [(config.get("task") or {}).get("id", "") for config in configs]
    for algorithm, (knob, _) in KNOBS.items():
        of_algorithm = runs["algorithm"] == algorithm
        runs.loc[of_algorithm, "setting"] = runs.loc[of_algorithm, knob]
    return runs, arm_names({arm: own for arms in described["arms"] for arm, own in arms.items()})


def _swept(settings):
    """{module: the number that an algorithm of one's own was swept over}, which is its knob; that with most values.

    settings  dicts of the runs, each with `module`. Numbers that are not all positive have no place on a log axis.
    """
    values = {}
    for own in settings:
        for key, value in own.items():
            values.setdefault(own.get("module"), {}).setdefault(key, set()).add(value if _positive(value) else None)
    swept = {
        module: {key: len(found) for key, found in of.items() if len(found) > 1 and None not in found}
        for module, of in values.items()
    }
    return {module: max(counts, key=counts.get) for module, counts in swept.items() if counts}


def _positive(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _describe_arm(config, algorithm, condition, overrides, knob):
    """(arm without its condition, family, advantages, overrides, changes, {arm or family, with and without condition:
    what `arm_names` takes of it})."""
    words = json.loads(overrides)
    given = _given(words, config)
    own = {key: given["algorithm", key] for group, key in given if group == "algorithm" and key}
    changes = {
        f"{group}.{key}" if key else group: value
        for (group, key), (_, value) in given.items()
        if group not in ("task", "algorithm", "total_steps")
    }
    others = {key: word for key, word in own.items() if key != knob}
    family, arm = (_called(algorithm, settings) for settings in (others, own))
    arms = {}
    for called, settings in ((family, others), (arm, own)):
        values = {key: value for key, (_, value) in settings.items()}
        arms[called] = algorithm, values, {}
        arms[f"{called} {condition}".strip()] = algorithm, values, changes
    return arm, family, _advantages(config.get("advantage_normalization")), _shell(words), changes, arms


def _called(algorithm, settings):
    """ "kl_fixed beta=3": an arm or a family by {setting: (text, value)}. Settings of one's own algorithm are as they
    were given, because 1 and 1.0 may be two of them."""
    own = algorithm == "custom"
    words = {key: text if own else value if isinstance(value, str) else spelled(value)
             for key, (text, value) in settings.items()}  # fmt: skip
    return " ".join([algorithm, *(f"{key}={word}" for key, word in words.items())])


def _advantages(normalization):
    """ "raw", "centred" or "normalised"."""
    return {"none": "raw", "false": "raw", "centre": "centred"}.get(str(normalization).lower(), "normalised")


def _given(words, config):
    """{(group, setting): (text, value)} of a run's overrides: ("algorithm", "beta"): ("3.0", 3.0)."""
    found = {}
    for word in words:
        key, _, text = word.lstrip("+").partition("=")
        value = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        group, _, setting = key.partition(".")
        found[group, setting] = text, yaml.safe_load(text) if value is None else value
    return found


def _missing(runs):
    """Runs that a study's grid implies and that no folder has.

    Expected are, in each cell (task, arm) that has any run, the seeds of the same algorithm's other arms on the task,
    and those of its seeds on other tasks that the task has with any arm. So tasks may have different numbers of seeds,
    and a cell without any run is not expected: grids may differ, too. A run of the same environment under another
    task's name is there.
    """
    problems = [_problem(*row) for row in zip(runs["task"], runs["config"])]
    problem_of = dict(zip(runs["task"], problems))
    columns = ["task", "total_steps", "algorithm", "arm", "condition", "seed"]
    cells, there = {}, set()
    every_run = runs[columns].itertuples(index=False)
    for row, failed, studies, problem in zip(every_run, runs["failed"], runs["studies"], problems):
        for study in studies:
            cells.setdefault((study, *row[:5]), {})[row.seed] = failed
        there |= set() if failed else {(problem, *row[1:])}
    of_group, of_arm, of_task = {}, {}, {}
    for (study, task, steps, algorithm, arm, condition), seeds in cells.items():
        of_group.setdefault((study, task, steps, algorithm, condition), set()).update(seeds)
        of_arm.setdefault((study, arm, condition), set()).update(seeds)
        of_task.setdefault((study, task, steps, condition), set()).update(seeds)
    lost = {}
    for (study, task, steps, algorithm, arm, condition), seeds in cells.items():
        expected = of_group[study, task, steps, algorithm, condition]
        expected = expected | of_arm[study, arm, condition] & of_task[study, task, steps, condition]
        for seed in sorted(seed for seed in expected if seeds.get(seed, True)):
            if (problem_of[task], steps, algorithm, arm, condition, seed) not in there:
                lost.setdefault((task, steps, algorithm, condition, arm, seed), study)
    rows = []
    for (task, steps, algorithm, condition, arm, seed), study in sorted(lost.items()):
        own = runs[(runs["task"] == task) & (runs["arm"] == arm) & (runs["condition"] == condition)]
        own = own[(own["total_steps"] == steps) & own["studies"].map(lambda names, study=study: study in names)]
        words = f"python -m study {own['overrides'].iloc[0]} seed={seed} {_folder(own.iloc[0])}"
        rows.append((task, steps, algorithm, arm, condition, seed, words))
    return pd.DataFrame(rows, columns=[*columns, "command"])


_OF_NO_PROBLEM = ("name", "total_steps", "backend")


def _problem(task, config):
    """What a task is whatever its name, budget and who steps it: the environment with all arguments, else its name."""
    try:
        known = dict(json.loads(config)["task"])
    except (TypeError, ValueError, KeyError):
        return task
    return json.dumps({name: known[name] for name in sorted(known) if name not in _OF_NO_PROBLEM})


def _shell(words):
    """The words of a command as they are typed: quoted where a shell would take them apart."""
    return " ".join(
        word if re.fullmatch(r"[\w@%+=:,./\[\]-]+", word, re.ASCII) else shlex.quote(word) for word in words
    )


def _folder(run):
    """The words that send a run into the study that this one is in, from the current directory."""
    try:
        name = json.loads(run["config"]).get("name") or ""
    except (TypeError, ValueError):
        name = ""
    folder = Path(run["folder"]).resolve()
    if folder.parts[-len(Path(name).parts) :] != Path(name).parts:  # moved since
        name = folder.name
    results = os.path.relpath(folder.parents[len(Path(name).parts) - 1])
    words = [f"name={name}"] + ([f"execution.results={results}"] if results != "results" else [])
    return _shell(words)


def _with_returns(study):
    """The study without tasks on which no run ended an episode, said in `left_out`; as it is if there is no other."""
    known = study.runs["score"].notna().groupby(study.runs["task"]).any()
    if known.all() or not known.any():
        return study
    study.left_out.append(f"Left out, because no run ended an episode there: {', '.join(known.index[~known])}.")
    return study.only(tasks=known.index[known])


def _score(study):
    """Adds `untrained`, `score` and `auc_score` to the runs.

    untrained  mean over the task's runs of the first return they report: the initial policy's
               (zero-mean actions of unit standard deviation), the "random policy" of PPO's Table 1.
    score      final_return; for a diverged run `untrained`, even where it earned more before it diverged.
    auc_score  the same of auc_return
    """
    runs = study.runs
    reported = study.curves[np.isfinite(study.curves["return_mean"])]
    first = reported.groupby("run")["return_mean"].first().reindex(runs.index)
    runs["untrained"] = first.astype(float).groupby(runs["task"]).transform("mean")
    broken = (runs["status"] == "diverged") | ~np.isfinite(runs["final_return"])
    runs["score"] = runs["final_return"].where(~broken, runs["untrained"])
    runs["auc_score"] = runs["auc_return"].where(~broken & np.isfinite(runs["auc_return"]), runs["untrained"])
    unfinished = broken & (runs["status"] == "complete") & runs["untrained"].notna()
    if unfinished.any():
        study.warnings.append(
            f"{counted(unfinished.sum(), 'complete run')} ended no episode and scored as the untrained policy."
        )
