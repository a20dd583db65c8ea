"""What only the article shows: its tables, plots, claims and chapter of the page."""
