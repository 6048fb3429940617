"""Claim A of the target KL of adaptive β."""

from .a import imagine_one_number, one_number_for_all_tasks

NAME = "A for target KL"
CLAIM = "No single target KL of adaptive β performs well across problems."
RULE = "The rule of claim A, word for word: the question is asked of every method that has a number to choose."
ORDER = 100
NEEDS = ("kl_adaptive",)


def judge(study) -> tuple:
    return one_number_for_all_tasks(study.main, "kl_adaptive")


def imagine(study, runs) -> tuple:
    return imagine_one_number(runs, "kl_adaptive")
