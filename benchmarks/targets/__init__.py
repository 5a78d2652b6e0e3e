"""Where a bundle is measured."""
