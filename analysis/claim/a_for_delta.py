"""Claim A of the δ of TRPO."""

from .a import imagine_one_number, one_number_for_all_tasks

NAME = "A for δ"
CLAIM = "No single δ of TRPO performs well across problems."
RULE = "The rule of claim A, word for word: the question is asked of every method that has a number to choose."
ORDER = 90
NEEDS = ("trpo",)


def judge(study) -> tuple:
    return one_number_for_all_tasks(study.main, "trpo")


def imagine(study, runs) -> tuple:
    return imagine_one_number(runs, "trpo")
