"""Claim A of the ε of clipping."""

from .a import imagine_one_number, one_number_for_all_tasks

NAME = "A for ε"
CLAIM = "No single ε of clipping performs well across problems."
RULE = "The rule of claim A, word for word: the question is asked of every method that has a number to choose."
ORDER = 110
NEEDS = ("clip",)


def judge(study) -> tuple:
    return one_number_for_all_tasks(study.main, "clip")


def imagine(study, runs) -> tuple:
    return imagine_one_number(runs, "clip")
