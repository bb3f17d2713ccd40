"""A tree from within: its members, what they use, and letting them stand still."""
