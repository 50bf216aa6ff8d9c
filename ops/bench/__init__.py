"""How fast easel is, as ratios: each bench runs easel's own path beside a bare loop of the same work, interleaved.

``bare`` holds those loops and stays as it is; every other bench of this package returns a ``report.Report``.
"""
