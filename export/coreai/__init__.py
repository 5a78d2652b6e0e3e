"""Core AI, which iOS 27 brings: packages of the float pipeline, with Apple's runtime for Linux as a judge."""
