"""Real servers, each started in several ways and asked to end: with the time to save what they save."""
