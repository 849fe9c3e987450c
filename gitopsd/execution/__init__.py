"""Carries a plan out: effects wave by wave, a gate after each, the prune and the last gate. Knows the ports alone."""
