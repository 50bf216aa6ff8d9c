"""The small text-to-image model that the repository ships: its pictures, its training and its judge."""
