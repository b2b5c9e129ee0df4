"""One line that makes a run repeatable: seeds and threads; and quiet libraries."""


def prepare_torch(seed: int, threads: int | None) -> None:
    """Seed Python's, NumPy's and torch's generators; the same seed and threads give the same numbers on one CPU."""
    import random

    import numpy as np
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if threads is not None:
        torch.set_num_threads(threads)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
