"""Reports as tables and pages."""
