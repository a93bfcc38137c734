"""Room pretrain: stores and chosen clips -> an encoder, by MSCL or one of its baselines (METHOD 1.3 to 1.7)."""
