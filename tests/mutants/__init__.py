"""Mutants: small faults on purpose, to see whether tests notice (docs/maintaining/mutants.md).

mutmut has no seeded samples, and cosmic-ray changes the working tree in place; neither knows which tests
execute a function. So the faults and the runner are our own.
"""
