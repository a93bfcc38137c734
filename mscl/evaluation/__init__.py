"""What a pre-trained encoder is worth: probe, retrieval, fine-tuning, prediction (METHOD 1.8)."""
