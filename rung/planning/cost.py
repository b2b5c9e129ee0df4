"""Memory and time of one update, from sizes alone. Pure functions; bytes, FLOPs and seconds."""

from dataclasses import dataclass

from rung.planning.shapes import Machine, Shape

MODEL_UTILISATION = 0.4  # of the peak FLOP/s, where a good learner in bf16 ends up (Chowdhery et al. 2022 call it MFU)
LOGIT_ROWS = 256  # rl.chosen.CHUNK, without loading torch
DECODE_UTILISATION = 0.6  # of the memory bandwidth


@dataclass(frozen=True)
class Workload:
    """One update: R rollouts of ``prompt`` + ``response`` tokens, and how they are learnt from."""

    rollouts: int
    prompt: int
    response: int
    longest: int  # sampling.max_tokens: what the cache must hold
    epochs: int
    micro_tokens: int
    critic: bool
    shared_trunk: bool
    reference: bool  # a model of its own: with LoRA it is the policy without its adapter
    bytes: int  # of a weight and of an activation: 4, or 2 in bf16
    lora_rank: int  # 0: all weights learn
    checkpointing: bool  # gradient checkpointing: activations of one layer at a time, the forward pass twice
    engine_batch: int


@dataclass(frozen=True)
class Part:
    """A part of the memory of one accelerator, and when it is there."""

    name: str
    bytes: float
    phases: tuple[str, ...]  # of "sample", "score", "learn"


PHASES = ("sample", "score", "learn")


def activation_bytes(shape: Shape, dtype_bytes: int, width: int) -> float:
    """What autograd keeps of a token in one layer, with rows of ``width`` tokens.

    Both norms keep their input and their scaled input (float32), and hand on theirs; attention keeps q, k and v (each
    expanded to all heads), its output, a row of the mask and a log-sum; the projections keep their inputs; the MLP
    keeps gate, activated gate, up and product.  Counted with saved_tensors_hooks on transformers' Llama and Qwen2.
    """
    b, query = dtype_bytes, shape.heads * shape.head_size
    norms = 2 * 4 * shape.hidden + 4 * b * shape.hidden + 2 * 4
    attention = 4 * b * query + b * width + 4 * shape.heads
    return norms + attention + 4 * b * shape.intermediate


def memory(policy: Shape, prm: Shape | None, work: Workload, machine: Machine, shards: int) -> list[Part]:
    """Each part on one of ``shards`` accelerators.

    Weights, gradients and optimizer are sharded and rollouts divided; where there are several, the engine has weights
    of its own, split over no more accelerators than it takes.
    """
    b, separate = work.bytes, work.critic and not work.shared_trunk
    trunk, width = policy.trunk + policy.hidden, work.prompt + work.response
    adapter = policy.adapter(work.lora_rank)
    policy_learns, critic_learns = (adapter, adapter) if work.lora_rank else (policy.parameters, trunk)
    adam = 8 if b == 4 else 12  # two moments, and float32 copies of weights below float32
    parts = [Part("policy and optimizer", (b * policy.parameters + adam * policy_learns) / shards, PHASES)]
    if separate:
        parts.append(Part("critic and optimizer", (b * trunk + adam * critic_learns) / shards, PHASES))
    if work.reference:
        parts.append(Part("reference", b * policy.parameters / shards, PHASES))
    if prm is not None:
        parts.append(Part("PRM", b * (prm.trunk + 2 * prm.hidden) / shards, PHASES))
    share = -(-work.rollouts // shards)
    split = engine_split(policy, work, machine, shards)
    if shards > 1:
        parts.append(Part(f"engine's weights, over {split}", b * policy.parameters / split, ("sample",)))
    sequences = min(work.engine_batch, share)
    cache = sequences * (work.prompt + work.longest) * policy.cache * b
    parts.append(Part("KV cache", cache, ("sample",)))
    tokens = min(work.micro_tokens, share * width)
    actions = tokens * work.response / width
    parts.append(Part("logits, no gradient", 3 * 4 * policy.vocabulary * min(LOGIT_ROWS, actions), ("score",)))
    layers = 1 if work.checkpointing else policy.layers
    kept = layers * activation_bytes(policy, b, width) + (
        policy.layers * b * policy.hidden if work.checkpointing else 0
    )
    parts.append(Part("activations", tokens * kept, ("learn",)))
    parts.append(Part("logits", (4 + b % 4) * policy.vocabulary * actions, ("learn",)))  # p; its gradient below float32
    gradients = policy_learns + (critic_learns if separate else 0)
    parts.append(Part("gradients", b * gradients / shards, ("learn",)))
    return parts


def engine_split(policy: Shape, work: Workload, machine: Machine, gpus: int) -> int:
    """Accelerators that one replica of the engine spans: the fewest, doubling, that hold it in 0.4 of their memory."""
    split = 1
    while split < gpus and policy.parameters * work.bytes / split > 0.4 * machine.memory:
        split *= 2
    return min(split, gpus)


def peak(parts: list[Part]) -> tuple[str, float]:
    """The phase that needs most, and its bytes."""
    needs = {phase: sum(part.bytes for part in parts if phase in part.phases) for phase in PHASES}
    phase = max(needs, key=needs.__getitem__)
    return phase, needs[phase]


def forward_flops(shape: Shape, tokens: float, width: float, heads: float = 0.0) -> float:
    """Two a weight and token, attention's 4·width·heads·size/2 of causal rows, and the LM head at ``heads`` tokens."""
    attention = 2 * shape.layers * shape.heads * shape.head_size * width * tokens
    return 2 * shape.multiplied * tokens + attention + 2 * shape.vocabulary * shape.hidden * heads


@dataclass(frozen=True)
class Stage:
    """A stage of an update: its FLOPs in all, its seconds, and which of compute, bandwidth and network bounds it."""

    name: str
    flops: float
    seconds: float
    bound: str


def stages(policy: Shape, prm: Shape | None, work: Workload, machine: Machine, gpus: int) -> list[Stage]:
    """One update, stage by stage, spread evenly over ``gpus``."""
    width = work.prompt + work.response
    tokens, actions = work.rollouts * width, work.rollouts * work.response
    rate = machine.flops * MODEL_UTILISATION * gpus
    out = [_sampling(policy, work, machine, gpus)]

    scored = forward_flops(policy, tokens, width, actions) * (2 if work.reference else 1)
    if work.critic and not work.shared_trunk:
        scored += forward_flops(policy, tokens, width)
    out.append(Stage("old and reference log-probs, values", scored, scored / rate, "compute"))
    if prm is not None:
        judged = forward_flops(prm, tokens, width)
        out.append(Stage("PRM", judged, judged / rate, "compute"))

    # Forward, backward to the activations and, unless they are frozen, to the weights; checkpointing: forward again.
    passes = 2 + (not work.lora_rank) + work.checkpointing
    learnt = passes * forward_flops(policy, tokens, width, actions)
    if work.critic and not work.shared_trunk:
        learnt += passes * forward_flops(policy, tokens, width)
    learnt *= work.epochs
    out.append(Stage("learning", learnt, learnt / rate, "compute"))
    if gpus > 1:  # the new weights reach the engine once an update
        moved = policy.parameters * work.bytes
        out.append(Stage("weights to the engine", 0.0, moved / machine.link, "network"))
    return out


def _sampling(policy: Shape, work: Workload, machine: Machine, gpus: int) -> Stage:
    """Each token step reads the weights and the batch's cache, and multiplies: the slower of the two counts."""
    split = engine_split(policy, work, machine, gpus)
    replicas = gpus // split
    batch = min(work.engine_batch, -(-work.rollouts // replicas))
    rounds = -(-work.rollouts // (replicas * batch))
    half = work.prompt + work.response / 2
    flops = forward_flops(policy, batch, half, batch)
    read = work.bytes * (policy.parameters + batch * half * policy.cache)
    compute = flops / (machine.flops * MODEL_UTILISATION * split)
    bandwidth = read / (machine.bandwidth * DECODE_UTILISATION * split)
    prompts = forward_flops(policy, work.rollouts * work.prompt, work.prompt)
    prefill = prompts / (machine.flops * MODEL_UTILISATION * gpus)
    seconds = rounds * work.longest * max(compute, bandwidth) + prefill
    total = flops * work.response * replicas * rounds + prompts
    return Stage("sampling", total, seconds, "bandwidth" if bandwidth > compute else "compute")
