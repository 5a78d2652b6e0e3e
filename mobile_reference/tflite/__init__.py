"""TFLite files: one reader and one view of their operators."""
