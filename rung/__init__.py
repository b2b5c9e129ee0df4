"""The front door: the command line, the stages behind it, evaluation and reports."""

__version__ = "0.1.0"
