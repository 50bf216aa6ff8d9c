"""A collector of spans for one machine, and the picture of a trace."""
