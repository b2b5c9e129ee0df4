"""``python -m verifiers A B``: are two answers equal, and which rung of the ladder says so?"""

import sys

from verifiers.equal import decide, read

WORDS = {True: "equal", False: "different", None: "could not tell"}


def main(arguments: list[str]) -> int:
    """0 for equal, 1 for different, 2 for could not tell or a wrong call."""
    if len(arguments) != 2 or arguments[0] in ("-h", "--help"):
        print('usage: python -m verifiers "\\frac12" "0.5"', file=sys.stderr)
        return 2
    for text in arguments:
        reading = read(text)
        print(f"{text}\n  read as {reading.canonical or 'nothing'}{f' ({reading.problem})' if reading.problem else ''}")
    decision = decide(arguments[0], arguments[1])
    print(f"{WORDS[decision.verdict]}: decided by the {decision.rung} rung, {decision.detail}")
    return {True: 0, False: 1, None: 2}[decision.verdict]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
