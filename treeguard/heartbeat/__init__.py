"""Who is still alive: children that fall silent have their trees ended."""
