"""What reports are made of: blocks, pictures of frames and flow, one style."""
