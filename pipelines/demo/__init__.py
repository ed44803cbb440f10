"""Makes the built-in demo persona: a toy model that is trained on conversations this package makes up."""
