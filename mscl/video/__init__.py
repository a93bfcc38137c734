"""Videos and clips: decoding in guarded processes, which frames a clip reads, crops, normalised pictures."""
