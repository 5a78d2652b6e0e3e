"""The bundle format, the torch-free runner that an app can be checked against, and parity."""
