"""Health of an object, a module for each group of kinds."""

from gitopsd.kinds.health.assess import assess

__all__ = ["assess"]
