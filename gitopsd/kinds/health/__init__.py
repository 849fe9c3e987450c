"""Health of an object, a module for each group of kinds."""

from gitopsd.kinds.health.assess import assess
from gitopsd.kinds.health.stuck import STUCK, StuckPod, stuck_pods

__all__ = ["STUCK", "StuckPod", "assess", "stuck_pods"]
