"""The `mscl` command, a file per group of verbs."""
