"""Many readers of server-sent events on one process: whether each is told all, and what that takes."""
