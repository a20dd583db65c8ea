"""Clean and robust accuracy per image, ledgers, intervals."""
