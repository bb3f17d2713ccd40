"""Looking into a tree: its members, what they use, and freezing them."""
