"""``rung serve MODEL``: load a process reward model and answer until told to stop."""

import sys

from lm.torch_setup import prepare_torch
from prm.loading import load_as
from rung.serving.config import ServeConfig
from rung.web.start import read_key, require_packages


def main(config: ServeConfig) -> None:
    """``rung serve``: answer requests until SIGTERM or Ctrl-C, then finish those that were accepted."""
    api_key = read_key(config.api_key_env, config.api_key_file)
    require_packages()
    from rung.serving.app import OPEN, PATHS, Service, build_app
    from rung.serving.batcher import Batcher
    from rung.serving.metrics import Metrics
    from rung.web.guard import LOCAL, Guard
    from rung.web.listen import address, open_socket, run_server

    with open_socket(config.host, config.port) as sock:
        prepare_torch(0, config.threads)
        prm = load_as(config.reading, config.model, config.dtype, config.batch_tokens, config.prompt)
        metrics = Metrics(PATHS, lambda: batcher.waiting)
        batcher = Batcher(prm, budget=config.batch_tokens, capacity=config.queue, observe=metrics.batch)
        service = Service(config.model, batcher, metrics, config.limits, config.aggregate)
        guard = Guard(
            build_app(service),
            config.host,
            config.limits.body_bytes,
            config.limits.body_seconds,
            api_key,
            OPEN,
            service.refuse_when_stopping,
            metrics.request,
        )
        batcher.start()
        print(f"serving {config.model} at {address(sock)} (Ctrl-C finishes what is queued and stops)", flush=True)
        if api_key is None and config.host not in LOCAL:
            print("without a key anybody who reaches this address may use it; see api_key_env", file=sys.stderr)
        try:
            run_server(guard, sock, stopping=service.stop, idle=service.idle)
        finally:
            batcher.stop()
