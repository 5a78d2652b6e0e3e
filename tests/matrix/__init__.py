"""The matrix of proofs: networks of an engineer's own, from every source, through export and verify."""
