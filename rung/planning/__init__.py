"""What a run of RL will cost, before it is started: memory, FLOPs and time, part by part."""
