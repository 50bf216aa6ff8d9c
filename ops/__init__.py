"""What people run: the command line, the local stack, and the tools around them."""
