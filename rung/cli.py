"""The command line: ``rung VERB [CONFIG.yaml] [key=value ...]``. A verb's own modules are imported when it runs."""

import difflib
import errno
import importlib
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm.errors import UserError


@dataclass(frozen=True)
class Verb:
    """What a verb does, in a line, and where its function and its config class are, as "module:name".

    ``argument`` is the key that a plain word sets, as in ``rung serve MODEL``, or the keys that the first and the
    second word set, as in ``rung compare A B``; with three dots one key takes all words, as in ``rung report A B C``.
    Without one it is a config file.
    """

    summary: str
    function: str
    config: str
    argument: str = ""


VERBS = {
    "demo": Verb("every rung on built-in problems, from nothing to a report", "rung.demo:main", "rung.ladder:Ladder"),
    "sft": Verb("train a first policy on worked solutions", "rung.sft:train", "rung.sft:SFTConfig"),
    "label": Verb(
        "label the steps of solutions, by one labeller or several", "prm.label:label", "prm.label:LabelConfig"
    ),
    "prm": Verb("train a process reward model on labelled steps", "prm.train:train", "prm.train:PRMConfig"),
    "ppo": Verb("improve a policy by PPO with step rewards", "rl.train:train", "rl.config:RLConfig"),
    "rl": Verb("the same loop, any algorithm: see configs/rl", "rl.train:train", "rl.config:RLConfig"),
    "dpo": Verb("a policy from pairs of answers or of steps", "rl.dpo:train", "rl.dpo:DPOConfig"),
    "rm": Verb("a reward model from pairs of answers", "rl.reward_model:train", "rl.reward_model:RewardModelConfig"),
    "expert": Verb("rounds of sampling and fine-tuning on what is right", "rl.expert:train", "rl.expert:ExpertConfig"),
    "rlaif": Verb("a policy from a judge's verdicts on its samples", "rl.rlaif:train", "rl.rlaif:RLAIFConfig"),
    "constitution": Verb(
        "revised responses and pairs by written principles",
        "rl.constitution:main",
        "rl.constitution:ConstitutionConfig",
    ),
    "rlhf": Verb("from human rankings to PPO, DPO and RLAIF in one report", "rung.rlhf:main", "rung.rlhf:RLHF"),
    "score": Verb(
        "score the steps of solutions in a file", "rung.score:main", "rung.score:ScoreConfig", argument="file"
    ),
    "verify": Verb(
        "say which final answers in a file are right", "rung.verify:main", "rung.verify:VerifyConfig", argument="file"
    ),
    "eval": Verb("measure how often a policy is right", "rung.evaluate:main", "rung.evaluate:EvalConfig"),
    "eval processbench": Verb(
        "a PRM on first errors",
        "rung.evaluate_steps:processbench",
        "rung.evaluate_steps:ProcessBenchConfig",
        argument="files...",
    ),
    "eval prmbench": Verb(
        "a PRM on every step",
        "rung.evaluate_steps:prmbench",
        "rung.evaluate_steps:PRMBenchConfig",
        argument="files...",
    ),
    "eval math": Verb(
        "a policy on the benchmarks of final answers", "rung.evaluate_math:main", "rung.evaluate_math:MathConfig"
    ),
    "eval contamination": Verb(
        "which test problems stand in the training data",
        "rung.contamination:main",
        "rung.contamination:ContaminationConfig",
        argument="train test",
    ),
    "eval sycophancy": Verb(
        "how often a wrong opinion sways a policy", "rung.sycophancy:main", "rung.sycophancy:SycophancyConfig"
    ),
    "eval bon": Verb(
        "a PRM on picking among samples",
        "rung.evaluate_bon:main",
        "rung.evaluate_bon:BonConfig",
        argument="files...",
    ),
    "compare": Verb(
        "two evaluations: what changed, which problems flipped",
        "rung.compare:main",
        "rung.compare:CompareConfig",
        argument="a b",
    ),
    "search": Verb("solve problems by a policy that a PRM guides", "rung.search:main", "rung.search:GuidedConfig"),
    "rerank": Verb(
        "order candidate solutions by a PRM", "rung.rerank:main", "rung.rerank:RerankConfig", argument="file"
    ),
    "watch": Verb("follow a run in the terminal", "rung.watch:main", "rung.watch:WatchConfig", argument="folder"),
    "plan": Verb(
        "memory and time of a run, before it is started",
        "rung.planning.plan:main",
        "rung.planning.plan:PlanConfig",
        argument="config",
    ),
    "report": Verb(
        "write one HTML page about runs", "rung.report:main", "rung.report:ReportConfig", argument="folders..."
    ),
    "serve": Verb(
        "serve step scores over HTTP", "rung.serving.serve:main", "rung.serving.config:ServeConfig", argument="model"
    ),
    "annotate": Verb(
        "have people rate steps or rank solutions",
        "rung.annotation.annotate:main",
        "rung.annotation.annotate:AnnotateConfig",
        argument="file",
    ),
}

_RUNGS = ("sft", "label", "prm", "ppo", "eval", "report")  # what a ladder's file has sections for
_DATA = (".jsonl", ".jsonl.gz", ".parquet", ".csv")
_HELP = {"-h", "--help"}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # the disk's fault, not ours


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: this process's, without the program); returns the exit status.

    0 done, 2 the user has something to mend (one line on standard error), 130 interrupted. A bug of ours crashes.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = next((words for words in (" ".join(arguments[:2]), *arguments[:1]) if words in VERBS), "")
    who = f"rung {verb}".strip()
    try:
        if verb:
            _run(verb, arguments[len(verb.split()) :])
        else:
            print(_without_verb(arguments))
        sys.stdout.flush()
        return 0
    except UserError as error:
        return _complain(f"{who}: {error}", 2)
    except KeyboardInterrupt:
        return _complain(f"{who}: interrupted", 130)
    except BrokenPipeError:  # `rung --help | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's last flush would fail as well
        return 128 + 13
    except OSError as error:
        if error.errno not in _FULL:
            raise
        return _complain(f"{who}: cannot write {error.filename or 'output'}: {error.strerror}; free some space", 2)


def _run(verb: str, arguments: Sequence[str]) -> None:
    if _HELP & set(arguments):
        print(verb_help(verb, _load(VERBS[verb].config)))
        return
    config = configured(verb, arguments)
    function: Callable[[Any], None] = _load(VERBS[verb].function)
    function(config)


def configured(verb: str, arguments: Sequence[str]) -> Any:
    """The config of a verb from the words behind it on the command line. Raises UserError for what is wrong in them."""
    from lm.config import load
    from lm.plain_yaml import read_mapping

    path, overrides = _split(arguments, VERBS[verb].argument)
    if path is not None and not path.exists():
        _check_second_word(verb, str(path))
    if path is not None and verb in _RUNGS and any(isinstance(read_mapping(path).get(rung), dict) for rung in _RUNGS):
        # A ladder's file serves each of its stages: what the stages share is filled in from its top.
        place = "" if verb == "report" else f"{verb}."  # the report has no section: its folder is the ladder's
        ladder = load(_load(VERBS["demo"].config), path, [place + override for override in overrides])
        return _load("rung.ladder:stage")(ladder, verb)
    return load(_load(VERBS[verb].config), path, overrides, section=verb)


def _split(arguments: Sequence[str], plain: str) -> tuple[Path | None, list[str]]:
    """The config file, if one is given, and the overrides; ``plain`` are the keys that words that are neither set."""
    paths: list[str] = []
    names = plain.removesuffix("...").split()
    listed: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        if argument.startswith("-"):
            word = argument.lstrip("-").partition("=")[0].replace("-", "_") or "key"
            raise UserError(f"no option {argument}; keys are set as {word}=value, without dashes (see --help)")
        is_override = re.fullmatch(r"[\w.]*", argument.partition("=")[0]) and "=" in argument
        if names and not is_override and (plain == "config" or not argument.endswith((".yaml", ".yml"))):
            if plain.endswith("..."):
                listed.append(argument)
                continue
            argument, is_override = f"{names[0]}={argument}", True
            names = names[1:] or names
        if not is_override and argument.endswith(_DATA):
            raise UserError(f"{argument} holds data and is no config file; give it by its key, as KEY={argument}")
        (overrides if is_override else paths).append(argument)
    if listed:
        overrides.append(f"{names[0]}={json.dumps(listed)}")
    if len(paths) > 1:
        raise UserError(f"expected one config file, got {' and '.join(paths)}; other settings are key=value")
    return (Path(paths[0]) if paths else None), overrides


def _check_second_word(verb: str, word: str) -> None:
    """UserError for ``rung eval procesbench``; a verb of one word alone leaves it to the reader of config files."""
    seconds = [name.removeprefix(f"{verb} ") for name in VERBS if name.startswith(f"{verb} ")]
    if seconds and not word.endswith((".yaml", ".yml")):
        near = difflib.get_close_matches(word, seconds, 1)
        cure = f"did you mean {near[0]}?" if near else f"one of {', '.join(seconds)}, or a config file"
        raise UserError(f"no {word!r} to {verb}; {cure}")


def _without_verb(arguments: Sequence[str]) -> str:
    if not arguments or arguments[0] in _HELP:
        return general_help()
    if arguments[0] == "--version":
        from rung import __version__

        return f"rung {__version__}"
    near = difflib.get_close_matches(arguments[0], VERBS, 1)
    raise UserError(
        f"no verb {arguments[0]!r}; " + (f"did you mean {near[0]}?" if near else f"one of {', '.join(VERBS)}")
    )


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _complain(line: str, status: int) -> int:
    print(" ".join(line.splitlines()), file=sys.stderr)
    return status


# --- help -----------------------------------------------------------------------------------------------------------


def general_help() -> str:
    """What ``rung --help`` prints."""
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {name:<{width}}{verb.summary}" for name, verb in VERBS.items())
    return f"""Rung: process rewards for reasoning, one step at a time.

usage: rung VERB [CONFIG.yaml] [key=value ...]

{verbs}

  rung VERB --help    every key of a verb: its type, its default and why it is there
  rung --version      the version

A YAML file holds what differs from the defaults, and key=value what differs from the file.
A file with a section for each verb (sft:, prm:, ppo:, ...) serves them all."""


def verb_help(verb: str, config_class: type) -> str:
    """What ``rung VERB --help`` prints: every key as it would be typed, grouped by section, and two commands."""
    from lm.config import describe, sections

    rows = describe(config_class)
    places = list(dict.fromkeys(["", *(name.rpartition(".")[0] for name, *_ in rows)]))
    rows = sorted(rows, key=lambda row: places.index(row[0].rpartition(".")[0]))  # the top's keys, then each section's
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    left = min(max((len(f"{name}={default}") for name, _, default, _ in rows), default=0), width // 3)
    plain = "".join(f" [{name.upper()}]" for name in VERBS[verb].argument.split())
    lines = [f"rung {verb}: {VERBS[verb].summary}", "", f"usage: rung {verb}{plain} [CONFIG.yaml] [key=value ...]"]
    reasons = sections(config_class)
    section = None
    for name, kind, default, reason in rows:
        if name.rpartition(".")[0] != section:
            section = name.rpartition(".")[0]
            why = f": {reasons[section]}" if reasons.get(section) else ""
            lines += ["", *textwrap.wrap(f"{section}{why}" if section else "keys, with their defaults", width)]
        needed = default == "required"
        typed, told = (f"{name}=", f"{kind}, required") if needed else (f"{name}={default}", kind)
        lines += _row(typed, f"{reason} [{told}]", left, width)
    return "\n".join([*lines, "", "examples", *(f"  {example}" for example in _examples(verb, rows))])


def _row(typed: str, meaning: str, left: int, width: int) -> list[str]:
    """``typed`` in the left column, or on a line of its own where it is too long, and what it means to the right."""
    indent = " " * (left + 4)
    meaning_lines = textwrap.wrap(meaning, max(width - len(indent), 30))
    if len(typed) > left:
        return [f"  {typed}", *(indent + line for line in meaning_lines)]
    return [f"  {typed:<{left}}  {meaning_lines[0]}", *(indent + line for line in meaning_lines[1:])]


def _examples(verb: str, rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Two commands made of keys that exist: with plain words or a file, and with keys of the top and of a section."""
    required = "".join(f" {name}=..." for name, _, default, _ in rows if default == "required")
    given = [
        (name, default) for name, _, default, _ in rows if re.fullmatch(r"[\w./-]+", default) and default != "required"
    ]
    top = [f"{name}={default}" for name, default in given if "." not in name and default != "null"][:1]
    nested = [f"{name}={default}" for name, default in given if "." in name][:1]
    words = VERBS[verb].argument.removesuffix("...").upper() or "my.yaml"
    return [f"rung {verb} {words}", " ".join([f"rung {verb}{required}", *top, *nested])]
