"""Is each step right? Process reward models: their labels, their training, their scores and how far to trust them."""
