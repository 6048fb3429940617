"""Penalty versus constraint in policy optimisation, trained in fleets.

A fleet is many runs trained in lockstep as one batched program. One letter per axis, everywhere:

    R  runs of the fleet, the first axis of every tensor that differs between runs
    T  steps of one rollout (the horizon); N samples of a batch or minibatch
    D  observation size; A action size; K distribution parameters of one action; P policy parameters
"""
