"""The machine room: models, tokens, engines, configs and runs. No mathematics."""
