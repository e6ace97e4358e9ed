"""Direct logit attribution: what each part of the model writes into a logit."""
