"""Process reward models: is each step right?  ``prm.load("name or path").score(solutions)``."""

from prm.loading import load

__all__ = ["load"]
