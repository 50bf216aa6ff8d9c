"""Dead letters: reading them, and giving the requests among them to admission again."""
