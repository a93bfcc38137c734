"""Room score: features -> probe and retrieval, with intervals, controls and chance (METHOD 1.8)."""
