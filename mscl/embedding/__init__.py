"""Room embed: frames and an encoder -> features of every video, and search in them."""
