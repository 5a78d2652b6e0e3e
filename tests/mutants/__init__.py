"""Mutants: small faults put into the product on purpose, to see whether tests notice; see docs/mutants.md.

mutmut has no seeded samples, and cosmic-ray changes the working tree in place; neither knows which tests
execute a function. So the faults and the runner are our own.
"""
