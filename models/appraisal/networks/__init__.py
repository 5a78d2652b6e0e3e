"""The networks of the appraisal."""
