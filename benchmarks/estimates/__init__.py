"""What published times say about a model that nobody has timed."""
