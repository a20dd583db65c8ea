"""What this package costs in time and memory, each number beside its peer in the same run."""
