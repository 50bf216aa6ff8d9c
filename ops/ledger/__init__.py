"""A ledger that was lost, made again from what the other topics say."""
