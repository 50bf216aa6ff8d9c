"""Every decision, and what became of it, as the topics hold it: one entry for each that was committed."""
