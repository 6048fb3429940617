"""How often the rules of the questions decide, wrongly and rightly, in simulated studies whose truth is known.

    python -m analysis.sizes [NAME ...] [--studies 1000]

makes the rows of these questions in results/question_sizes.csv anew, of all that have `WORLDS` by default. A row is a
world (the keywords of the question's `imagine`), the shares of studies that show the claim and its contrary, and the
true effect where the keywords do not say it. Those of `spread` and `unit` are in results/response_power.csv
(benchmarks/response_coverage.py).
"""

import argparse

import pandas as pd

from . import question
from .data import EVIDENCE
from .item import modules, name

TABLE = EVIDENCE / "question_sizes.csv"
COLUMNS = ["question", "world", "studies", "shown", "contrary_shown", "true_effect"]


def rows(module, studies):
    """A row per world of a question's module."""
    found = []
    for world in module.WORLDS:
        keywords = {"studies": studies} | world
        shown, contrary, *truth = module.imagine(**keywords)
        words = ", ".join(f"{key} = {value:g}" for key, value in world.items() if key != "studies")
        found.append((name(module), words, keywords["studies"], shown, contrary, *(truth or [None])))
    return pd.DataFrame(found, columns=COLUMNS)


def main(arguments=None):
    known = {
        name(module): module for module in modules(question.__name__, question.__path__) if hasattr(module, "WORLDS")
    }
    parser = argparse.ArgumentParser(prog="python -m analysis.sizes", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"questions: {', '.join(known)} (default: all)")
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies of each world")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(known):
        parser.error(f"no question {', '.join(sorted(unknown))} with WORLDS; there are {', '.join(known)}")
    made = pd.concat([rows(known[each], given.studies) for each in given.names or known])
    if TABLE.exists():
        kept = pd.read_csv(TABLE)
        made = pd.concat([kept[~kept["question"].isin(made["question"])], made])
    made.sort_values("question", kind="stable").to_csv(TABLE, index=False, float_format="%.3f")
    print(made.to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
