"""Targets, statistics and evidence of how long an appraisal takes."""
