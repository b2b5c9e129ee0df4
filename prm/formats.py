"""Published process reward models: how each writes a solution down, and where it says what it thinks of each step.

A format is a record, not code: ``prm/layout.py`` turns it and a tokenizer into token ids and positions,
``prm/heads.py`` reads the numbers at those positions. docs/prm_formats.md shows each with its source.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lm.errors import UserError

Layout = Literal["pieces", "marked", "appended", "turns", "conversation", "critique", "critique turns"]
Head = Literal["classes", "mlp", "value", "verdicts", "implicit"]


@dataclass(frozen=True)
class Format:
    """How a family of reward models reads a solution.

    ``layout`` is where the steps go and which token is read for each:

    * "pieces": the prompt and then the text of the solution, cut only where steps end; read at a step's last token.
    * "marked": one string, tokenised whole, with ``marker`` behind each step; read at the marker (``drop_marker``: the
      marker only keeps the tokenizer from merging across steps, is then taken out, and the token before it is read).
    * "appended": opening, steps and separator (``marker``), each tokenised by itself; read at the separator's end.
    * "turns": a chat in which the user says a step and the assistant a verdict; read where the verdict is predicted.
    * "conversation": a chat whose assistant says all steps; the head needs every token (implicit reward models).
    * "critique", "critique turns": the model writes about the steps, all at once or turn by turn, before its verdicts.

    ``head`` is what is read there: "classes" (a transformers token classifier), "mlp" (two layers, Qwen), "value" (one
    number, P = sigmoid), "verdicts" (the logits of two tokens of the vocabulary), "implicit" (log-ratio of two language
    models). ``right`` are the classes that mean right; ``verdicts`` the texts whose last tokens say right and wrong.
    ``outcome`` models judge a solution once, at its last step, and every step carries that number.
    """

    layout: Layout
    head: Head
    source: str
    names: tuple[str, ...] = ()
    opening: str = "{question}"
    chat: bool = False
    system: str | None = None
    special_tokens: bool = False
    bos: bool = False
    numbered: bool = False
    before_marker: str = ""
    marker: str = ""
    between: str = ""
    drop_marker: bool = False
    right: tuple[int, ...] = (1,)
    verdicts: tuple[str, str] = ("+", "-")
    head_key: str = ""
    outcome: bool = False
    beta: float = 1.0
    reference: str | None = None


RUNG = "rung"  # what ``rung prm`` trains: the chat template (or a prompt of the user's), then the text itself

FORMATS: Mapping[str, Format] = {
    RUNG: Format("pieces", "classes", "prm/train.py"),
    "rung-value": Format("pieces", "value", "prm/train.py", head_key="score"),
    "rung-verdicts": Format("pieces", "verdicts", "prm/train.py", verdicts=("+", "-")),
    "rung-outcome": Format("pieces", "classes", "prm/train.py (Cobbe et al. 2021, arXiv:2110.14168)", outcome=True),
    "rung-implicit": Format("pieces", "implicit", "Yuan et al. 2024, arXiv:2412.01981", beta=0.05),
    "qwen-math-prm": Format(
        "marked",
        "mlp",
        "model card of Qwen/Qwen2.5-Math-PRM-7B (Zhang et al. 2025, arXiv:2501.07301)",
        names=("qwen2.5-math-prm",),
        chat=True,
        system="Please reason step by step, and put your final answer within \\boxed{}.",
        marker="<extra_0>",
        head_key="score",
    ),
    "math-shepherd": Format(
        "marked",
        "verdicts",
        "model card of peiyi9979/math-shepherd-mistral-7b-prm (Wang et al. 2024, arXiv:2312.08935)",
        names=("math-shepherd",),
        opening="{question} ",
        special_tokens=True,
        numbered=True,
        before_marker=" ",
        marker="ки",
        between="\n",
    ),
    "openr-psa": Format(
        "marked",
        "verdicts",
        "openreasoner/openr, prm/infer_fns.py (Wang et al. 2024, arXiv:2410.09671)",
        names=("math-psa",),
        opening="{question} ",
        special_tokens=True,
        marker=" \n\n\n\n\n",
        between=" ",
        verdicts=(" +", " -"),
    ),
    "reasoneval": Format(
        "marked",
        "value",  # a bare linear layer; of its three classes two are valid
        "GAIR-NLP/ReasonEval, codes/examples.py (Xia et al. 2024, arXiv:2404.05692)",
        names=("reasoneval",),
        opening="Question:\n{question}\nAnswer:\nLet's think step by step.\n",
        special_tokens=True,
        marker="{pad}",
        drop_marker=True,
        right=(1, 2),
        head_key="score_head",
    ),
    "trl": Format(
        "appended",
        "classes",
        "TRL 1.12, trl/experimental/prm/prm_trainer.py",
        bos=True,
        marker="\n",
    ),
    "pure": Format(
        "appended",
        "classes",
        "CJReinforce/PURE, PRM/eval (Cheng et al. 2025, arXiv:2504.15275)",
        names=("pure-prm",),
        marker="\n",
    ),
    "skywork-o1": Format(
        "appended",
        "value",
        "SkyworkAI/skywork-o1-prm-inference, io_utils.py and prm_model.py",
        names=("skywork-o1-open-prm",),
        opening="{question}\n",
        bos=True,
        marker="\n",
        head_key="v_head.summary",
    ),
    "rlhflow": Format(
        "turns",
        "verdicts",
        "RLHFlow/RLHF-Reward-Modeling, math-rm (Xiong et al. 2024)",
        names=("prm-deepseek-data", "prm-mistral-data"),
        opening="{question} ",
    ),
    "eurus-prm": Format(
        "conversation",
        "implicit",
        "model card of PRIME-RL/EurusPRM-Stage2 (Cui et al. 2025, arXiv:2502.01456)",
        names=("eurusprm",),
        chat=True,
        between="\n\n",
        beta=0.001,
        reference="Qwen/Qwen2.5-Math-7B-Instruct",
    ),
    "thinkprm": Format(
        "critique",
        "verdicts",
        "model card of launch/ThinkPRM-1.5B (Khalifa et al. 2025, arXiv:2504.16828)",
        names=("thinkprm",),
        verdicts=("correct", "incorrect"),
    ),
    "genprm": Format(
        "critique turns",
        "verdicts",
        "RyanLiu112/GenPRM, prm_evaluation (Zhao et al. 2025, arXiv:2504.00891)",
        names=("genprm",),
        verdicts=("Yes", "No"),
    ),
}


def find_format(name: str, config: Mapping[str, Any], asked: str | None = None) -> tuple[str, Format]:
    """The format ``asked`` for, or else the one that the model's name or config.json means; Rung's own by default.

    Only the last part of a name counts, in lower case: a folder above the model may be called anything.
    Raises UserError for an unknown format.
    """
    if asked is not None:
        if asked not in FORMATS:
            raise UserError(f"no PRM format {asked!r}; use one of {', '.join(FORMATS)}")
        return asked, FORMATS[asked]
    last = name.rstrip("/").rpartition("/")[2].lower()
    for key, form in FORMATS.items():
        if any(part in last for part in form.names):
            return key, form
    if "Qwen2ForProcessRewardModel" in (config.get("architectures") or []):
        return "qwen-math-prm", FORMATS["qwen-math-prm"]
    return RUNG, FORMATS[RUNG]
