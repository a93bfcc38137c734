"""What trainings share: torchrun as a supervised child, ranks, loaders."""
