"""Generated motion suite: H.264 videos whose classes are motions, and no single frame tells them apart."""
