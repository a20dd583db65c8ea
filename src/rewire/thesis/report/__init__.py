"""What only the thesis shows: paired comparisons, matrices, its chapter of the page."""
