"""The run folder: its schema, checkpoints and log, and the training and evaluation of a run."""
