"""Floor and reference score of each task, frozen in scale.csv, so that a score means the same in every report.

    python -m analysis.scale [results/NAME ...]    adds tasks that the table lacks, and changes none

Added are the tasks of the studies named (all committed ones by default), measured on all committed runs of them. A
study is named when it is complete.

normalised = (score - floor) / (reference - floor), where a score is the area under the learning curve (auc_return).

    floor      return of the untrained policy: mean over seeds of the first return that runs report
    spread     standard deviation of one iteration's return under that policy, from neighbouring iterations of the first
               six of all runs
    reference  mean score of the task's best arm, of those with two seeds or more if there are any
    learned    whether some arm is above floor + 2 spread in every seed, with two seeds or more
    family     the part of EnvPool that the environment comes from, else "gymnasium"

A task is a name, an environment id and a budget. The floor and the spread are those of the name and id, whatever the
budget. Where nothing is learned a run's mean over training varies by spread / sqrt(n), n being the number of
independent iterations in it; a task with 50 arms of two seeds is called learned in less than 1 % of simulated studies,
and one arm of two seeds that rises by four spreads in more than 95 % (tests/test_analysis_scale.py).
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

TABLE = Path(__file__).with_name("scale.csv")
KEY = ["task", "id", "total_steps"]
NUMBERS = ["floor", "spread", "reference", "learned"]
COLUMNS = [*KEY, "family", *NUMBERS]
VISIBLE = 2.0  # spreads above the floor
EARLY = 6  # iterations


def table():
    return pd.read_csv(TABLE, dtype={"total_steps": int})


def add(study):
    """Adds the scale's columns and `normalised` to the runs: from the table, else from these runs, said in the notes.

    `frozen` says which. Forks, which begin with another run's policy, have a floor and a family alone.
    """
    runs = study.runs
    known = table()
    own = measured(study, known)
    rows = pd.concat([known.assign(frozen=True), own.assign(family="", frozen=False)]).drop_duplicates(KEY)
    found = runs[KEY].merge(rows, on=KEY, how="left").set_axis(runs.index)
    found = found.rename(columns={"family": "family_of_task"})
    for column in ["family_of_task", *NUMBERS, "frozen"]:
        runs[column] = found[column].where(runs["fork"].isna())
    whatever = rows.drop_duplicates(KEY[:2])[["task", "id", "family", "floor"]]  # the budget is
    of_forks = runs[KEY[:2]].merge(whatever, on=KEY[:2], how="left").set_axis(runs.index)
    runs["family_of_task"] = runs["family_of_task"].fillna(of_forks["family"]).fillna("")
    runs["floor"] = runs["floor"].fillna(of_forks["floor"])
    runs["learned"], runs["frozen"] = runs["learned"].eq(True), runs["frozen"].eq(True)
    failed = (runs["status"] == "diverged") | ~np.isfinite(runs["auc_return"])
    gain = (runs["reference"] - runs["floor"]).where(runs["reference"] > runs["floor"])
    runs["normalised"] = (runs["auc_return"].where(~failed, runs["floor"]) - runs["floor"]) / gain
    new = sorted(runs.loc[runs["fork"].isna() & ~runs["frozen"], "task"].unique())
    if new:
        study.notes.append(
            f"Floor and reference score of {', '.join(new)} are measured on these runs (analysis/scale.csv has none)."
        )


def measured(study, known):
    """Frame with a row per task, id and budget of the study's runs: KEY and NUMBERS. Forks are left out.

    known  rows whose floor and spread stand, whatever the budget
    """
    runs = study.runs[study.runs["fork"].isna()]
    reported = study.curves[np.isfinite(study.curves["return_mean"]) & study.curves["run"].isin(runs.index)]
    early = reported.groupby("run")["return_mean"].head(EARLY).astype(float)
    by_run = early.groupby(reported.loc[early.index, "run"])
    squares = (by_run.diff() ** 2 / 2).groupby(reported.loc[early.index, "run"]).mean()
    first = by_run.first().reindex(runs.index)
    names = [runs["task"], runs["id"]]
    floor = first.groupby([*names, runs["seed"]]).mean().groupby(["task", "id"]).mean()
    spread = np.sqrt(squares.reindex(runs.index).groupby(names).mean())
    frozen = known.drop_duplicates(KEY[:2]).set_index(KEY[:2])
    rows = []
    for (task, name, steps), own in runs.groupby(KEY):
        numbers = frozen.loc[(task, name), ["floor", "spread"]] if (task, name) in frozen.index else None
        low, unit = (floor[task, name], spread[task, name]) if numbers is None else map(float, numbers)
        failed = (own["status"] == "diverged") | ~np.isfinite(own["auc_return"])
        scores = own["auc_return"].where(~failed, low).groupby([own["condition"], own["arm"]])
        arms = scores.agg(["mean", "min", "size"])
        several = arms[arms["size"] >= 2]
        visible = bool((several["min"] > low + VISIBLE * (unit if np.isfinite(unit) else 0.0)).any())
        best = (arms if several.empty else several)["mean"].max()
        rows.append((task, name, steps, low, unit, best, visible))
    return pd.DataFrame(rows, columns=KEY + NUMBERS).astype(dict.fromkeys(NUMBERS[:3], float))


def family(name):
    """The part of EnvPool that makes an environment id: "dmc", "toy_text", ...; "gymnasium" for any other id."""
    from envpool.registration import registry

    return registry.specs[name][0].rpartition(".")[2] if name in registry.specs else "gymnasium"


def main(arguments=None):
    from .data import load

    parser = argparse.ArgumentParser(prog="python -m analysis.scale", description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", metavar="STUDY", help="folders under results/ (default: all)")
    named = {Path(folder).name for folder in parser.parse_args(arguments).studies}
    old, everything = table(), load()
    complete = set().union(*everything.runs["studies"])
    if unknown := named - complete:
        near = f"{', '.join(sorted(unknown))}; there are {', '.join(sorted(complete))}"
        parser.error(f"no committed study, or one that is still being trained: {near}")
    new = measured(everything, old)
    mine = everything.runs[[not named or not named.isdisjoint(studies) for studies in everything.runs["studies"]]]
    keys, there, wanted = (pd.MultiIndex.from_frame(frame[KEY]) for frame in (new, old, mine))
    new = new[keys.isin(wanted) & ~keys.isin(there)]
    new = new.assign(family=list(map(family, new["id"])))[COLUMNS]
    if len(new):  # none where every task of the study is known at its budget
        pd.concat([old.astype(new.dtypes), new]).sort_values(KEY).to_csv(TABLE, index=False, float_format="%.6g")
    print(f"{TABLE}: {len(new)} rows added, {len(old)} as they were")


if __name__ == "__main__":
    main()
