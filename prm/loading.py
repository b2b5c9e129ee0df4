"""``prm.load``: from a folder or a hub name to something that scores steps."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lm.config import key
from lm.engine import Sampling
from lm.engines import EngineConfig, open_engine
from lm.errors import UserError, hub_errors
from lm.models import DType, default_device, load_causal_lm, load_tokenizer
from prm.ensemble import Combine, Ensemble
from prm.formats import Format, find_format
from prm.heads import check_head
from prm.labelling import SYMBOLIC
from prm.long_steps import LongSteps
from prm.scorer import Scorer, StepPRM
from prm.symbolic import SymbolicPRM

if TYPE_CHECKING:
    from prm.generative import GenerativePRM
    from prm.implicit import ImplicitPRM

Backend = Literal["transformers", "vllm"]
# In config.json: {"format", "temperature", "threshold", "prompt"}, and of an implicit PRM "reference" and "beta".
SETTINGS = "rung_prm"


@dataclass(frozen=True)
class Reading:
    """How a reward model is read, and which others are asked as well."""

    format: str | None = key(
        None, "prm.formats.FORMATS: trl, qwen-math-prm, ...; null goes by the model's files and name"
    )
    reference: str | None = key(None, "the model that an implicit PRM was trained from")
    backend: Backend = key(
        "transformers", "vllm: token classifiers and Qwen2.5-Math-PRM by pooling; the critiques of a generative PRM"
    )
    critiques: int = key(1, "critiques that a generative PRM writes of a solution", low=1)
    critique_tokens: int = key(1024, "longest critique", low=1)
    step_characters: float | None = key(
        None, "the length of the steps it learnt from (75 in PRM800K): a longer one is likelier wrong; null: as likely",
        low=1,
    )  # fmt: skip
    also: tuple[str, ...] = key((), "further PRMs, for an ensemble: folders, hub names or symbolic")
    combine: Combine = key("mean", "of an ensemble's scores: mean, min, or cautious: mean − caution·std")
    caution: float = key(1.0, "standard deviations that a cautious ensemble takes off", low=0)


def load(
    name: str,
    dtype: DType = "float32",
    tokens: int = 16384,
    prompt: str | None = None,
    *,
    format: str | None = None,
    reference: str | None = None,
    critiques: int = 1,
    critique_tokens: int = 1024,
    backend: Backend = "transformers",
) -> Scorer:
    """The step scorer at ``name`` (folder or hub name), with the tokenizer that lies beside it.

    What it is follows from ``format``, or what training left in config.json, or the model's name, in this order
    (``prm.formats.FORMATS``); a token classifier that says nothing is read as Rung's own. ``prompt`` (with {question}
    in it) is for Rung's formats, ``reference`` the other language model of an implicit PRM; ``critiques``, of at most
    ``critique_tokens`` each, are what a generative one writes of a solution (one: the likeliest; more are drawn).
    ``tokens`` bounds a batch. ``backend="vllm"`` runs a token classifier or Qwen2.5-Math-PRM by vLLM's pooling path,
    in batches of vLLM's making, and writes a generative one's critiques, which transformers then reads.
    No code of the checkpoint is ever run. Raises UserError where the files are not what the format needs.
    The name "symbolic" is no model but the check of each step's mathematics (``prm.symbolic``).
    """
    if name == SYMBOLIC:
        return SymbolicPRM()
    config = read_config(name)
    settings = config.get(SETTINGS) or {}
    _, form = find_format(name, config, format or settings.get("format"))
    form = dataclasses.replace(form, beta=settings.get("beta", form.beta))
    prompt = prompt or settings.get("prompt")
    temperature = settings.get("temperature", 1.0)
    tokenizer = load_tokenizer(name)
    if form.head == "classes":
        check_head(name)
    if backend == "vllm" and not form.layout.startswith("critique"):
        from prm.vllm_scorer import VLLMStepPRM

        return VLLMStepPRM(name, tokenizer, form, dtype=dtype, prompt=prompt, temperature=temperature)
    if form.layout.startswith("critique"):
        sampling = Sampling(temperature=0.0 if critiques == 1 else 0.8, max_tokens=critique_tokens, n=critiques)
        return _generative(name, form, tokenizer, dtype, backend, sampling, tokens=tokens, temperature=temperature)
    options: dict[str, Any] = {"prompt": prompt, "tokens": tokens, "temperature": temperature}
    if form.head == "implicit":
        return _implicit(name, reference or settings.get("reference"), form, tokenizer, dtype, **options)
    return _step_prm(name, form, tokenizer, dtype, **options)


def load_as(reading: Reading, name: str, dtype: DType, tokens: int, prompt: str | None) -> Scorer:
    """``load`` as a config says; with ``reading.also`` the ensemble of them all, each in its own format.

    ``reading.step_characters`` is of the first alone; what the others say stands as it is.
    """
    first = load(
        name, dtype, tokens, prompt, format=reading.format, reference=reading.reference,
        critiques=reading.critiques, critique_tokens=reading.critique_tokens, backend=reading.backend,
    )  # fmt: skip
    if reading.step_characters is not None:
        first = LongSteps(first, reading.step_characters)
    if not reading.also:
        return first
    others = [load(other, dtype, tokens) for other in reading.also]
    return Ensemble((first, *others), reading.combine, reading.caution)


def kept_threshold(reading: Reading, name: str) -> float | None:
    """The threshold that training chose and left with the model at ``name``: a step below it is called wrong.

    None where there is none, where a step's length counts (its score is then on another scale), and of an ensemble,
    unless it takes the least score and one member alone keeps one: a mean of scores is on no member's scale, but below
    a threshold the least is where that member is.
    """
    if reading.step_characters is not None:
        return None
    models = [n for n in (name, *reading.also) if n != SYMBOLIC]
    kept = [found for n in models if (found := (read_config(n).get(SETTINGS) or {}).get("threshold")) is not None]
    alone = not reading.also or (reading.combine == "min" and len(models) == 1)
    return float(kept[0]) if kept and alone else None


def _implicit(
    name: str, reference: str | None, form: Format, tokenizer: Any, dtype: DType, **options: Any
) -> "ImplicitPRM":
    from prm.implicit import ImplicitPRM

    start = reference or form.reference
    if start is None:
        raise UserError(f"{name!r} is an implicit PRM: give the model it was trained from as reference")
    policy, frozen = (load_causal_lm(n, dtype).to(default_device()) for n in (name, start))  # type: ignore[arg-type]
    return ImplicitPRM(policy, frozen, tokenizer, form, **options)


def _generative(
    name: str, form: Format, tokenizer: Any, dtype: DType, backend: Backend, sampling: Sampling, **options: Any
) -> "GenerativePRM":
    from prm.generative import GenerativePRM

    model = load_causal_lm(name, dtype).to(default_device())  # type: ignore[arg-type]
    writer = EngineConfig(backend, memory=0.45)  # beside the weights that read what it has written
    engine = open_engine(writer, name, tokenizer, dtype=dtype, batch=32, model=model)
    return GenerativePRM(model, tokenizer, form, engine, sampling=sampling, **options)


def _step_prm(name: str, form: Format, tokenizer: Any, dtype: DType, **options: Any) -> StepPRM:
    from prm.forward import check_causal
    from prm.heads import load_head

    trunk, head = load_head(name, form, tokenizer, dtype)
    trunk.to(default_device())  # type: ignore[arg-type]
    if not check_causal(trunk):
        raise UserError(f"{name!r} reads a text in both directions: its score of a step would depend on what follows")
    return StepPRM(trunk, head.to(default_device()), tokenizer, form, **options)


def read_config(name: str) -> dict[str, Any]:
    """The model's config.json as it stands, whatever class it names."""
    from transformers import PretrainedConfig

    with hub_errors(name):
        return dict(PretrainedConfig.get_config_dict(name)[0])
