"""The mechanism of claim B in units of the raw advantages."""

from .b_mechanism import drift

NAME = "B, mechanism, raw"
CLAIM = "The same in units of the raw advantages."
RULE = "As above, with the implied β multiplied by the standard deviation of the raw advantages."
ORDER = 50
NEEDS = ("trpo",)


def judge(study) -> tuple:
    return drift(study, raw=True)
