"""One line that makes a run repeatable: seeds, threads, deterministic kernels, quiet libraries."""


def prepare_torch(seed: int, threads: int | None) -> None:
    """Seed every generator torch and Python use; the same seed and thread count give the same numbers on one machine."""
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
