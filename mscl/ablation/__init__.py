"""Ablations: several variants of one configuration, trained on equal budget and seeds, then scored alike."""
