"""The article "Pruning, cost functions and adversarial noise": its stages, and what it shows."""
