"""Videos and clips: decoding in child processes, which frames a clip reads, crops, normalised pictures."""
