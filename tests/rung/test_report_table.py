import io

from rich.console import Console

from rung.report_table import terminal_table

SUMMARY = {
    "arms": [
        {"name": "sft", "greedy": {"mean": 0.412, "low": 0.37, "high": 0.455}},
        {"name": "ppo-process[red]", "greedy": {"mean": 0.53, "low": 0.487, "high": 0.571}, "pass@k": {"8": 0.742}},
    ],
    "paired": [
        {"a": "ppo-process", "b": "sft", "metric": "greedy", "mean": 0.118, "low": 0.079, "high": 0.156},
        {"a": "ppo-process", "b": "ppo-outcome", "metric": "greedy", "mean": 0.01, "low": -0.02, "high": 0.04},
    ],
}


def shown(summary: dict[str, object]) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(terminal_table(summary))
    return console.file.getvalue()


def test_the_table_shows_means_intervals_and_differences() -> None:
    text = shown(SUMMARY)
    for wanted in ("41.2%", "[48.7, 57.1]", "74.2%", "pass@8", "process[red]", "process − sft, greedy: +11.8 points"):
        assert wanted in text
    assert "[−2.0, +4.0]: not settled" in text.replace("\n", " ").replace("  ", " ")


def test_an_empty_summary_is_an_empty_table() -> None:
    assert terminal_table({}).row_count == 0
