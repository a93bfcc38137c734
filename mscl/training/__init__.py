"""Pre-training: one step, the loop, checkpoints, ranks, and the child process that a stage starts."""
