"""How a checkpoint of the appraisal is trained."""
