"""Attacks of other libraries, used to cross-check our own; one file per library."""
