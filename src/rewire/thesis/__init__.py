"""The thesis "Structured Adversarial Rewiring": its stages, and what it shows."""
