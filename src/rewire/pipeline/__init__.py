"""What every stage has around its own work: names, folders, locks, what a result was made of."""
