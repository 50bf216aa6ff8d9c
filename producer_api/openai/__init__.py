"""OpenAI's Images API, over the same requests as everything else: for programs that were written for that."""
