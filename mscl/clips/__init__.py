"""Room clips: what the stores hold as clips for other programs, in PyTorch (`mscl.open_clips`) and as files."""
