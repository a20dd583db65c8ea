"""Experiment tracking; the only package that imports wandb, and only when a run starts."""

from rewire.tracking.track import track
from rewire.tracking.tracker import NullTracker, Tracker

__all__ = ["NullTracker", "Tracker", "track"]
