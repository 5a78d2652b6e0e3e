"""The bundle: a folder with a manifest, read strictly."""
