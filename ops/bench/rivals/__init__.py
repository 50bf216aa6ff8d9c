"""``python -m ops.bench.rivals``: what others do with empty work, on this machine and in the same minutes.

None of them verifies a signature, counts a unit or promises more than "at least once": the figures say what a plain
queue costs here, beside which easel's are to be read.
"""
