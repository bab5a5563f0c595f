"""What a batch will take, told from a sample of its rows that is really run."""
