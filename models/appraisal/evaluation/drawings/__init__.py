"""What an evaluation draws that training never does: unseen kinds of anomaly, and nuisances."""
