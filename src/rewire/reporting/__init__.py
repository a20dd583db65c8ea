"""Tables against the published values, and summaries of sweeps."""
