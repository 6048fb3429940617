"""Do small β gain more at first and large β later in the same run (answers.crossings)? A row per task."""

import pandas as pd

from .. import answers
from ..names import signed, task_name, three_digits

TITLE = "Do the betas that gain most change sides?"
CAPTION = """
Return gained by the smaller half of the betas less that of the larger half, from the first and from the last point that
runs go on from, with 95 % intervals over seeds. Where the first is above 0 and the last below 0 the betas that gain
most change sides; one between may still serve both. p is of both together, Holm’s of all tasks shown.
"""
PART, ORDER = "within", 15
NEEDS = ()
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    return answers.crossings(study)


def text(frame) -> pd.DataFrame:
    rows = []
    for _, row in frame.sort_values(["advantages", "p"]).iterrows():
        texts = {"task": task_name(row["task"]), "advantages": row["advantages"]}
        texts |= {"small less large, early": signed(row, "lead_first", three_digits)}
        texts |= {"late": signed(row, "lead_last", three_digits)}
        rows.append(texts | {"p": f"{row['p']:.2g}", "Holm": f"{row['holm']:.2g}", "seeds": str(row["seeds"])})
    return pd.DataFrame(rows)
