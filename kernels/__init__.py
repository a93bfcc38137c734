"""Array -> array numerics: optical flow, motion, colours, rotation."""
