"""Decides what a run will do: what a commit asks, what of it is to be touched, in which order, and what forbids it."""
