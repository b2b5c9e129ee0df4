"""One line that makes a run repeatable: seeds and threads; and quiet libraries."""


def prepare_torch(seed: int, threads: int | None) -> None:
    """Join the other processes of the run, if any, and seed Python's, NumPy's and torch's generators.

    The same seed and threads give the same numbers on one CPU.
    """
    import random

    import numpy as np
    import torch
    from transformers.utils import logging

    from lm import processes, zero

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if threads is not None:
        torch.set_num_threads(threads)
    zero.check()
    processes.join()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
