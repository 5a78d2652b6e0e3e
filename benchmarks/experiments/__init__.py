"""How figures of the documents were made."""
