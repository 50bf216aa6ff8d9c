"""What a GPU does with the families' transformers at their true size, and what easel's engine path leaves of it.

One command on a machine with a GPU, torch and diffusers, and nothing else: ``python -m ops.bench.gpu --help``.
"""
