"""Timings of the hot paths beside what they are part of; `python -m rewire.bench`."""
