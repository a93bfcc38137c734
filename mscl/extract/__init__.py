"""Room extract: manifest and videos -> flow store and frame store; every video is decoded once, here."""
