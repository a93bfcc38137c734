"""Motion Sensitive Contrastive Learning (ECCV 2022): from videos to a motion-sensitive encoder."""
