"""Many cells at once: on this machine, on Slurm, or as commands for others."""
