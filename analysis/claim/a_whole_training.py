"""Claim A by the return over the whole of training."""

from .a import imagine_one_number, one_number_for_all_tasks

NAME = "A, whole training"
CLAIM = "The same, judged by the return over the whole of training."
RULE = "The rule of claim A with the mean return over training in place of the final return."
ORDER = 20
NEEDS = ("kl_fixed",)


def judge(study) -> tuple:
    return one_number_for_all_tasks(study.main, "kl_fixed", "auc_score")


def imagine(study, runs) -> tuple:
    return imagine_one_number(runs, "kl_fixed", "auc_score")
