"""Image sets, drawn anomalies, activation ranges, and what is normal at each place of a face."""
