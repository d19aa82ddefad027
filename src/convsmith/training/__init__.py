"""The training loop, its optimisers and schedules, and the folder that a run leaves behind."""
