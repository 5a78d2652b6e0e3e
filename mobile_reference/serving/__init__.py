"""A page on this machine that takes a photograph: the extra `serve`."""
