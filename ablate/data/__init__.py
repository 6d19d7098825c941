"""Images: where they come from, what their files say, and the cache of decoded ones."""
