"""The generated demo set: H.264 videos whose classes are motions."""
