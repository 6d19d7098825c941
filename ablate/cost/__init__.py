"""Hours, memory and operations before compute is spent, and how fast networks train here."""
