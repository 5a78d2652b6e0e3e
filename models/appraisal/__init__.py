"""The built-in pipeline, facial-anomaly appraisal, and all that knows a face."""
