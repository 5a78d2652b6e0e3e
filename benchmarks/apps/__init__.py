"""Projects for an app that measures: Android and Apple."""
