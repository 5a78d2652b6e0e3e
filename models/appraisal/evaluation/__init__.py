"""What a checkpoint sees of drawn anomalies, with intervals."""
