"""`rung annotate`: people judge steps and rank solutions."""
