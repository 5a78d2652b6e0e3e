"""The way of a checkpoint through an export: which modules hand it on, as a traced run tells."""
