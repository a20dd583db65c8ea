"""Where re-connections go: one file per strategy, registered in `rewire.registry.STRATEGIES`."""
