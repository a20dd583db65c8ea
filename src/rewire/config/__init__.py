"""What may be configured, and all mistakes of a configuration at once."""
