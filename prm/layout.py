"""From solutions to token ids and to the positions where a reward model is read: one function a layout.

Steps are spans of characters, so any tokenizer can be asked about them. Two ways of writing a separator down are not
the same: in a string that is tokenised whole it may merge with its neighbours, as ids of its own it cannot
(docs/prm_formats.md shows what that does to a score). Each format has the way that it was trained with.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lm.errors import UserError
from lm.tokenizer import encode, prompt_text
from prm.formats import Format
from verifiers.solution import Solution

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_MOST_COUNTED = 500  # steps; their conversations are encoded one by one, which takes the square of their length


class Row(NamedTuple):
    """``ids`` of a solution with its prompt; ``ends`` (S,), where each step is read; the answer begins at ``start``.

    ``fault`` says why there are none, where the steps cannot be told apart in the tokens. Of a tree of solutions
    (``prm.token_trees``) ``parents`` (T,) has the place of the token before each, -1 where there is none.
    """

    ids: list[int]
    ends: list[int]
    start: int
    fault: str | None = None
    parents: Sequence[int] = ()


class _Unreadable(Exception):
    """This solution has no row; others may."""


def encode_solutions(
    form: Format, tokenizer: "PreTrainedTokenizerBase", solutions: Sequence[Solution], prompt: str | None = None
) -> list[Row]:
    """A row for each solution in the format's layout; ``prompt`` replaces the chat template of layout "pieces".

    A solution whose steps cannot be told apart in the tokens gets a row that says so and holds nothing.
    """
    if form.layout == "pieces":
        return encode_steps(tokenizer, solutions, prompt)
    if prompt is not None:
        raise UserError("prompt was given, but a published format has a prompt of its own: leave prompt out")
    one = {"marked": _marked, "appended": _appended, "turns": _turns, "conversation": _conversation}[form.layout]
    rows = []
    for solution in solutions:
        try:
            rows.append(one(form, tokenizer, solution))
        except _Unreadable as fault:
            rows.append(Row([], [], 0, str(fault)))
    return rows


def encode_steps(
    tokenizer: "PreTrainedTokenizerBase", solutions: Sequence[Solution], prompt: str | None = None
) -> list[Row]:
    """Layout "pieces": the prompt, then the text of each solution up to its last step, read at each step's last token.

    The text is tokenised piece by piece, each piece ending where a step ends, so the ids up to a step depend on the
    text up to that step and on nothing after it: a tokenizer that merges a full stop with the line break behind it
    would otherwise tell the model whether another step follows.
    """
    questions = dict.fromkeys(solution.problem.question for solution in solutions)
    prompts = {question: prompt_text(tokenizer, question, prompt) for question in questions}
    pieces: list[str] = []
    for solution in solutions:
        pieces.append(prompts[solution.problem.question])
        start = 0
        for step in solution.steps:
            pieces.append(solution.text[start : step.end])
            start = step.end
    distinct = list(dict.fromkeys(pieces))  # paths through a tree share most of their steps
    ids_of = dict(zip(distinct, encode(tokenizer, distinct), strict=True))
    ids = (ids_of[piece] for piece in pieces)
    out = []
    for solution in solutions:
        row = list(next(ids))
        start, ends = len(row), []
        for _ in solution.steps:
            row += next(ids)
            ends.append(len(row) - 1)
        out.append(Row(row, ends, start))
    return out


def token_id(tokenizer: "PreTrainedTokenizerBase", text: str) -> int:
    """The last token of a text by itself, as the cards of verdict-token models take it: "+" in Llama 2 is "▁+"."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path!r} makes no token of {text!r}: not its PRM's tokenizer"
        )
    return int(ids[-1])


def _marked(form: Format, tokenizer: "PreTrainedTokenizerBase", solution: Solution) -> Row:
    marker = form.marker.replace("{pad}", str(tokenizer.pad_token))
    body = form.between.join(step + form.before_marker + marker for step in _step_texts(form, solution))
    opening = form.opening.replace("{question}", solution.problem.question)
    if form.chat:
        text = _chat(tokenizer, _messages(form, opening, body))
    else:
        text = opening + (marker if form.drop_marker else "") + body
    ids = [int(i) for i in tokenizer(text, add_special_tokens=form.special_tokens)["input_ids"]]
    marker_id = token_id(tokenizer, marker)
    places = [i for i, token in enumerate(ids) if token == marker_id]
    if form.drop_marker:
        return _without_markers(tokenizer, solution, ids, places)
    _expect(solution, len(places), repr(form.marker))
    return Row(ids, places, places[0] if places else len(ids))


def _without_markers(
    tokenizer: "PreTrainedTokenizerBase", solution: Solution, ids: list[int], places: list[int]
) -> Row:
    """Take the markers out and read the token before each; the first one closed the question.

    Where the marker is the BOS token too (ReasonEval-7B), the one at the very beginning stays.
    """
    marker = ids[places[0]]
    has_bos = places[0] == 0 and marker == tokenizer.bos_token_id
    places = places[1:] if has_bos else places
    _expect(solution, len(places) - 1, repr(str(tokenizer.pad_token)))
    taken_out = set(places)
    kept = [token for i, token in enumerate(ids) if i not in taken_out]
    ends = [place - 1 - taken for taken, place in enumerate(places)]
    return Row(kept, ends[1:], ends[0] + 1)


def _appended(form: Format, tokenizer: "PreTrainedTokenizerBase", solution: Solution) -> Row:
    opening = form.opening.replace("{question}", solution.problem.question)
    first, separator, *steps = encode(tokenizer, [opening, form.marker, *_step_texts(form, solution)])
    row = [tokenizer.bos_token_id] * (form.bos and tokenizer.bos_token_id is not None) + first
    start, ends = len(row), []
    for step in steps:
        row += [*step, *separator]
        ends.append(len(row) - 1)
    return Row(row, ends, start)


def _turns(form: Format, tokenizer: "PreTrainedTokenizerBase", solution: Solution) -> Row:
    """The assistant's turn is "+", an end-of-turn token behind it: the token before "+" is third from the end.

    The turns are found again by the ids that the first one adds, header and all: to encode the conversation as it
    stands after each step would take the square of its length.
    """
    opening = form.opening.replace("{question}", solution.problem.question)
    said = {"role": "assistant", "content": form.verdicts[0]}
    messages: list[dict[str, str]] = []
    for index, step in enumerate(_step_texts(form, solution)):
        messages += [{"role": "user", "content": step if index else opening + step}, said]
    if not messages:
        return Row([], [], 0)
    asked, answered, ids = encode(tokenizer, [_chat(tokenizer, messages[:n]) for n in (1, 2, len(messages))])
    turn = answered[len(asked) :]
    if answered[: len(asked)] != asked or len(turn) < 3 or turn[-2] != token_id(tokenizer, form.verdicts[0]):
        raise UserError(
            f"the chat template of {tokenizer.name_or_path!r} does not end a turn with {form.verdicts[0]!r} and "
            "one token: not the tokenizer of a PRM in this format"
        )
    ends = [i + len(turn) - 3 for i, token in enumerate(ids) if token == turn[0] and ids[i : i + len(turn)] == turn]
    _expect(solution, len(ends), f"turn {form.verdicts[0]!r}")
    return Row(ids, ends, ends[0])


def _conversation(form: Format, tokenizer: "PreTrainedTokenizerBase", solution: Solution) -> Row:
    """Positions as EurusPRM's card counts them, from the lengths of shorter conversations (a token late, as there)."""
    steps = _step_texts(form, solution)
    if len(steps) > _MOST_COUNTED:
        raise _Unreadable(
            f"solution {solution.problem.id!r}: {len(steps)} steps, and this format's places are counted for "
            f"{_MOST_COUNTED} at most; join some of them"
        )
    opening = form.opening.replace("{question}", solution.problem.question)

    def conversation(count: int) -> str:
        return _chat(tokenizer, _messages(form, opening, form.between.join(steps[:count])))

    shorter = [conversation(0).strip()]
    shorter += [conversation(k).strip() + form.between * (k < len(steps)) for k in range(1, len(steps) + 1)]
    *lengths, whole = encode(tokenizer, [*shorter, conversation(len(steps))])
    counts = [len(ids) for ids in lengths]
    return Row(whole, [count - 1 for count in counts[1:]], counts[0] - 2)


def _step_texts(form: Format, solution: Solution) -> list[str]:
    """The steps' texts; numbered where the format's training data was and the steps do not say their number."""
    texts = [step.text for step in solution.steps]
    if not form.numbered:
        return texts
    return [t if t.lower().startswith("step") else f"Step {i}: {t}" for i, t in enumerate(texts, 1)]


def _messages(form: Format, question: str, answer: str) -> list[dict[str, str]]:
    system = [] if form.system is None else [{"role": "system", "content": form.system}]
    return [*system, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _chat(tokenizer: "PreTrainedTokenizerBase", messages: list[dict[str, str]]) -> str:
    if not tokenizer.chat_template:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template, which this PRM's format needs"
        )
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False))


def _expect(solution: Solution, found: int, marker: str) -> None:
    if found != len(solution.steps):
        raise _Unreadable(
            f"solution {solution.problem.id!r}: {len(solution.steps)} steps, but {found} tokens of the format's marker "
            f"{marker}: its text holds the marker, or the tokenizer merges it; change the text or the PRM"
        )
