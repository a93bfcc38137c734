"""Training and evaluation samples: clip sampling, crops, augmentation, loaders (METHOD 1.3, 1.4)."""
