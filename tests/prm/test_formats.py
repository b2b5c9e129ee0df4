"""Published formats: ids, positions and scores as straight-line code after each model card works them out."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_models import save, save_with_head
from toy_tokenizers import QUESTION, STEPS, llama3, mistral, qwen
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MistralModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForTokenClassification,
    Qwen2Model,
)

import prm
from lm.errors import UserError
from prm.formats import FORMATS, find_format
from prm.layout import Row, encode_solutions
from prm.scorer import measure_rows
from verifiers.solution import Problem, Solution, Step


def solve(steps: list[str], question: str = QUESTION, name: str = "p", joiner: str = "\n\n") -> Solution:
    spans, text = [], ""
    for step in steps:
        text += joiner if text else ""
        spans.append(Step(step, len(text), len(text) + len(step)))
        text += step
    return Solution(Problem(name, question, ""), text, tuple(spans))


SOLUTION = solve(STEPS)
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}


def sizes(tokenizer: PreTrainedTokenizerBase, **more: Any) -> dict[str, Any]:
    return SIZES | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id} | more


def our_row(name: str, tokenizer: PreTrainedTokenizerBase, solution: Solution = SOLUTION) -> Row:
    return encode_solutions(FORMATS[name], tokenizer, [solution])[0]


def check(path: str, name: str, row: Row, ids: list[int], places: list[int], expected: torch.Tensor | list) -> None:
    """Ids and positions exactly, scores to 1e-5, alone and in a batch; nothing of the checkpoint was run."""
    assert row.ids == ids
    assert row.ends == places
    scorer = prm.load(path, format=name)
    others = [solve(STEPS[:2]), SOLUTION, solve(["One step."], "Another question?")]
    for solutions in ([SOLUTION], others):
        scores = scorer.score(solutions)[solutions.index(SOLUTION)]
        np.testing.assert_allclose(scores.probabilities, np.asarray(expected), atol=1e-5)
    assert len({round(float(p), 4) for p in expected}) == len(STEPS)
    assert not (Path(path) / "was_run").exists()


def test_qwen_math_prm(tmp_path: Path) -> None:
    tokenizer = qwen()
    torch.manual_seed(0)
    trunk = Qwen2Model(Qwen2Config(**sizes(tokenizer))).eval()
    score = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    head = {f"score.{key}": value for key, value in score.state_dict().items()}
    path = save_with_head(
        trunk, tokenizer, tmp_path / "Qwen2.5-Math-PRM-7B", head, architectures=["Qwen2ForProcessRewardModel"]
    )
    messages = [
        {"role": "system", "content": "Please reason step by step, and put your final answer within \\boxed{}."},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "<extra_0>".join(STEPS) + "<extra_0>"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    ids = tokenizer.encode(text, return_tensors="pt")
    mask = ids == tokenizer.encode("<extra_0>")[0]
    with torch.no_grad():
        probabilities = score(trunk(ids).last_hidden_state).softmax(-1)
    places = mask[0].nonzero()[:, 0].tolist()
    check(
        path, "qwen-math-prm", our_row("qwen-math-prm", tokenizer), ids[0].tolist(), places, probabilities[mask][:, 1]
    )
    found, _ = find_format(path, {})
    renamed, _ = find_format("anything", {"architectures": ["Qwen2ForProcessRewardModel"]})
    assert found == renamed == "qwen-math-prm"


def test_math_shepherd(tmp_path: Path) -> None:
    tokenizer = mistral()
    torch.manual_seed(1)
    model = MistralForCausalLM(MistralConfig(**sizes(tokenizer))).eval()
    path = save(model, tokenizer, tmp_path / "math-shepherd-mistral-7b-prm")
    candidates = tokenizer.encode("+ -")[1:]
    tag = tokenizer.encode("ки")[-1]
    body = " ки\n".join(f"Step {i + 1}: {step}" for i, step in enumerate(STEPS)) + " ки"
    ids = torch.tensor([tokenizer.encode(f"{QUESTION} {body}")])
    assert len(candidates) == 2
    assert ids[0, 0] == tokenizer.bos_token_id
    with torch.no_grad():
        scores = model(ids).logits[:, :, candidates].softmax(-1)[:, :, 0]
    places = (ids[0] == tag).nonzero()[:, 0].tolist()
    check(path, "math-shepherd", our_row("math-shepherd", tokenizer), ids[0].tolist(), places, scores[ids == tag])
    numbered = solve([f"Step {i + 1}: {step}" for i, step in enumerate(STEPS)])
    assert our_row("math-shepherd", tokenizer, numbered).ids == ids[0].tolist()


def test_openr_math_psa(tmp_path: Path) -> None:
    tokenizer = qwen()
    torch.manual_seed(2)
    model = Qwen2ForCausalLM(Qwen2Config(**sizes(tokenizer))).eval()
    path = save(model, tokenizer, tmp_path / "Math-psa")
    candidates = tokenizer.encode(" + -")
    [tag] = tokenizer.encode(" \n\n\n\n\n")
    text = QUESTION + " " + "".join(step + " \n\n\n\n\n " for step in STEPS).removesuffix(" ")
    ids = torch.tensor([tokenizer.encode(text)])
    with torch.no_grad():
        scores = model(ids).logits[:, :, candidates].softmax(-1)[:, :, 0]
    assert tokenizer.convert_ids_to_tokens(candidates) == ["Ġ+", "Ġ-"]
    places = (ids[0] == tag).nonzero()[:, 0].tolist()
    check(path, "openr-psa", our_row("openr-psa", tokenizer), ids[0].tolist(), places, scores[ids == tag])


@pytest.mark.parametrize("pad", ["<s>", "</s>"])  # the 7B model's padding is its BOS, the 34B model's is not
def test_reasoneval(pad: str, tmp_path: Path) -> None:
    tokenizer = mistral(pad)
    torch.manual_seed(3)
    trunk = MistralModel(MistralConfig(**sizes(tokenizer))).eval()
    head = torch.nn.Linear(32, 3, bias=False)
    path = save_with_head(trunk, tokenizer, tmp_path / "ReasonEval-7B", {"score_head.weight": head.weight})
    prompt = f"Question:\n{QUESTION}\nAnswer:\nLet's think step by step.\n"
    whole = tokenizer(prompt + pad + "".join(step + pad for step in STEPS))["input_ids"]
    separator = tokenizer(pad)["input_ids"][-1]
    places, ids, count = [], [], 0
    for index, token in enumerate(whole):
        if token == separator:
            places.append(index - 1 - count)
            count += 1
        else:
            ids.append(token)
    if pad == "<s>":  # BOS counted as a separator: the published code puts it back, and so moves all places by one
        ids, places = [1, *ids], [place + 1 for place in places[2:]]
    else:
        places = places[1:]
    with torch.no_grad():
        scores = head(trunk(torch.tensor([ids])).last_hidden_state)[0, places].softmax(-1)
    check(path, "reasoneval", our_row("reasoneval", tokenizer), ids, places, scores[:, 1] + scores[:, 2])


@pytest.mark.parametrize("name", ["trl", "pure"])
def test_appended_ids_of_a_token_classifier(name: str, tmp_path: Path) -> None:
    tokenizer = qwen("<|endoftext|>")
    torch.manual_seed(4)
    config = Qwen2Config(**sizes(tokenizer), num_labels=2, classifier_dropout=0.0)
    model = Qwen2ForTokenClassification(config).eval()
    path = save(model, tokenizer, tmp_path / "PURE-PRM-7B")
    separator = tokenizer("\n", add_special_tokens=False)["input_ids"]
    ids = tokenizer(QUESTION, add_special_tokens=False)["input_ids"]
    ids = [tokenizer.bos_token_id, *ids] if name == "trl" else ids
    places = []
    for step in STEPS:
        ids = ids + tokenizer(step, add_special_tokens=False)["input_ids"] + separator
        places.append(len(ids) - 1)
    with torch.no_grad():
        p = model(torch.tensor([ids])).logits[0, places].softmax(-1)
    check(path, name, our_row(name, tokenizer), ids, places, p[:, 1])
    [scores] = prm.load(path, format=name).score([SOLUTION])
    np.testing.assert_allclose(2 * scores.probabilities - 1, p[:, 1] - p[:, 0], atol=1e-5)  # PURE's reward


def test_skywork_o1(tmp_path: Path) -> None:
    tokenizer = qwen("<|endoftext|>")
    torch.manual_seed(5)
    trunk = Qwen2Model(Qwen2Config(**sizes(tokenizer))).eval()
    value = torch.nn.Linear(32, 1)
    head = {"v_head.summary.weight": value.weight, "v_head.summary.bias": value.bias}
    path = save_with_head(trunk, tokenizer, tmp_path / "Skywork-o1-Open-PRM-Qwen-2.5-1.5B", head)
    ids = tokenizer.encode(tokenizer.bos_token + QUESTION + "\n")
    places = []
    for step in STEPS:
        ids = [*ids, *tokenizer.encode(step), tokenizer.encode("\n")[-1]]
        places.append(len(ids) - 1)
    with torch.no_grad():
        scores = value(trunk(torch.tensor([ids])).last_hidden_state)[0, places, 0].sigmoid()
    check(path, "skywork-o1", our_row("skywork-o1", tokenizer), ids, places, scores)


def test_rlhflow(tmp_path: Path) -> None:
    tokenizer = llama3()
    torch.manual_seed(6)
    model = LlamaForCausalLM(LlamaConfig(**sizes(tokenizer))).eval()
    path = save(model, tokenizer, tmp_path / "Llama3.1-8B-PRM-Deepseek-Data")
    candidates = [tokenizer.encode("+")[-1], tokenizer.encode("-")[-1]]
    conversation: list[dict[str, str]] = []
    scores, places = [], []
    for k, step in enumerate(STEPS):  # a forward pass a step, as published
        conversation.append({"role": "user", "content": f"{QUESTION} {step}" if k == 0 else step})
        conversation.append({"role": "assistant", "content": "+"})
        ids = tokenizer.apply_chat_template(conversation, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.no_grad():
            scores.append(float(model(ids).logits[0, -3, candidates].softmax(-1)[0]))
        places.append(ids.shape[1] - 3)
    check(path, "rlhflow", our_row("rlhflow", tokenizer), ids[0].tolist(), places, scores)
    assert ids[0].tolist().count(candidates[0]) > len(STEPS) or " +" in QUESTION  # the text's own "+" is not read


def test_eurus_prm(tmp_path: Path) -> None:
    tokenizer = qwen()
    torch.manual_seed(7)
    model, reference = (Qwen2ForCausalLM(Qwen2Config(**sizes(tokenizer))).eval() for _ in range(2))
    path = save(model, tokenizer, tmp_path / "EurusPRM-Stage2")
    other = save(reference, tokenizer, tmp_path / "reference")

    def chat(steps: list[str]) -> str:
        messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "\n\n".join(steps)}]
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)

    ids = torch.tensor([tokenizer.encode(chat(STEPS), add_special_tokens=False)])
    last = []
    for count in range(len(STEPS) + 1):
        text = chat(STEPS[:count]).strip() + ("\n\n" if count not in (0, len(STEPS)) else "")
        last.append(len(tokenizer.encode(text, add_special_tokens=False)) - 2)
    mask = torch.tensor([[0] * last[0] + [1] * (ids.shape[1] - last[0])])

    def logprobs(m: PreTrainedModel) -> torch.Tensor:
        with torch.no_grad():
            return m(ids).logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]

    reward = (0.001 * (logprobs(model) - logprobs(reference)) * mask[:, 1:]).cumsum(-1)
    published = reward[0, last[1:]].double()
    row = our_row("eurus-prm", tokenizer)
    assert row.ids == ids[0].tolist()
    assert row.ends == [place + 1 for place in last[1:]]
    scorer = prm.load(path, reference=other)
    for solutions in ([SOLUTION], [solve(STEPS[:1], "Another?"), SOLUTION]):
        [*_, logits] = scorer.logits(solutions)  # type: ignore[attr-defined]
        np.testing.assert_allclose(logits, published, atol=1e-6)
        np.testing.assert_allclose(scorer.score(solutions)[-1].probabilities, published.sigmoid(), atol=1e-6)


def test_a_marker_in_the_text_is_an_error_not_a_shifted_score() -> None:
    row = our_row("qwen-math-prm", qwen(), solve(["So <extra_0> it is."], name="bad"))
    said = "solution 'bad': 1 steps, but 2 tokens of the format's marker '<extra_0>'"
    assert (row.ids, row.ends) == ([], [])
    assert str(row.fault).startswith(said)
    bad, fine = solve(["So <extra_0> it is."], name="bad"), solve(STEPS)
    other = our_row("qwen-math-prm", qwen(), fine)
    assert measure_rows([row, other], [bad, fine], None) == [row.fault, len(other.ids)]  # and the other one is scored


def test_a_separator_in_a_joint_string_merges_and_as_ids_it_does_not() -> None:
    """The trap: "." and a line break are one token in a string, two where the separator's ids are appended."""
    tokenizer = qwen("<|endoftext|>")
    step = "She has 9."
    [dot] = tokenizer.encode(".")
    joint = tokenizer.encode(step + "\n\n" + "So 6.")
    appended = tokenizer.encode(step) + tokenizer.encode("\n\n") + tokenizer.encode("So 6.")
    assert joint != appended
    assert dot in appended
    assert tokenizer.decode(joint) == tokenizer.decode(appended)
    row = our_row("trl", tokenizer, solve([step, "So 6."]))
    assert [tokenizer.decode([row.ids[end]]) for end in row.ends] == ["\n", "\n"]
    # OpenR's marker is " \n\n\n\n\n": without its space it would merge with the full stop and be found nowhere.
    [marker] = tokenizer.encode(" \n\n\n\n\n")
    assert marker not in tokenizer.encode(step + "\n\n\n\n\n")


def test_what_is_not_in_a_checkpoint_is_one_line(tmp_path: Path) -> None:
    tokenizer = qwen()
    path = save(Qwen2ForCausalLM(Qwen2Config(**sizes(tokenizer))), tokenizer, tmp_path / "plain")
    with pytest.raises(UserError, match=r"holds no tensor score\.0\.weight"):
        prm.load(path, format="qwen-math-prm")
    with pytest.raises(UserError, match="is a language model without a head for scores"):
        prm.load(path)  # transformers would make one up
    with pytest.raises(UserError, match="no PRM format 'quen'; use one of rung"):
        prm.load(path, format="quen")
    with pytest.raises(UserError, match="give the model it was trained from as reference"):
        prm.load(path, format="rung-implicit")
    with pytest.raises(UserError, match="leave prompt out"):
        prm.load(path, format="openr-psa", prompt="{question}").score([SOLUTION])


def test_a_model_that_reads_both_ways_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForTokenClassification

    tokenizer = qwen()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48
    )
    path = save(BertForTokenClassification(config), tokenizer, tmp_path / "bert")
    with pytest.raises(UserError, match="reads a text in both directions"):
        prm.load(path)


def test_every_name_finds_its_format() -> None:
    named = {
        "Qwen/Qwen2.5-Math-PRM-72B": "qwen-math-prm",
        "peiyi9979/math-shepherd-mistral-7b-prm": "math-shepherd",
        "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data": "rlhflow",
        "RLHFlow/Llama3.1-8B-PRM-Mistral-Data": "rlhflow",
        "Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B": "skywork-o1",
        "PRIME-RL/EurusPRM-Stage1": "eurus-prm",
        "jinachris/PURE-PRM-7B": "pure",
        "openreasoner/Math-psa": "openr-psa",
        "GAIR/ReasonEval-34B": "reasoneval",
        "launch/ThinkPRM-1.5B": "thinkprm",
        "GenPRM/GenPRM-7B": "genprm",
        "runs/math-shepherd/prm/model": "rung",
    }
    assert {name: find_format(name, {})[0] for name in named} == named


def test_a_solution_of_3000_steps_takes_its_length_in_time_or_says_why_not() -> None:
    """To encode it anew after each step, as cards do, would take hours: seconds here are the test."""
    long = solve([f"Now {i} + {i} = {2 * i}" for i in range(3000)], name="long", joiner="\n")
    began = time.process_time()
    for name, form in FORMATS.items():
        if not form.layout.startswith("critique"):
            tokenizer = {"rlhflow": llama3(), "math-shepherd": mistral(), "reasoneval": mistral()}.get(name, qwen())
            row = our_row(name, tokenizer, long)
            assert len(row.ends) == (0 if name == "eurus-prm" else 3000), name
    assert "'long': 3000 steps, and this format's places" in str(our_row("eurus-prm", qwen(), long).fault)
    assert time.process_time() - began < 30
