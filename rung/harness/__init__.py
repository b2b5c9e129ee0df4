"""Tasks for lm-evaluation-harness: ``lm_eval --include_path`` takes this folder (docs/benchmarks.md)."""
