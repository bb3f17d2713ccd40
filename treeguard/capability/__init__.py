"""What a child may do: its capabilities, the quotas that meter them, the tokens that stand for them."""
