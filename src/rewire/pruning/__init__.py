"""Lonely-weight pruning and the BatchNorm statistics after it."""
