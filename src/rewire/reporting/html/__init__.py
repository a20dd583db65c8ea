"""The report: one HTML file with tables, curves, matrices and what is behind every number."""
