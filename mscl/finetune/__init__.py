"""Room finetune: frames and an encoder -> a classifier trained end to end, and its predictions (METHOD 1.8)."""
