"""The learner: from batches of experience to weights. Plain classes; only ``learner.remote`` knows of Ray."""
