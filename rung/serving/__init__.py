"""`rung serve`: a process reward model behind HTTP."""
