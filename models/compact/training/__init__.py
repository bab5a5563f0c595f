"""What training needs and running doesn't: branches to fold, pictures to learn from, pairs."""
