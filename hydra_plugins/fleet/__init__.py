"""Hydra plugins: a launcher that trains a sweep's runs in fleets, and a sweeper over unions of grids."""
