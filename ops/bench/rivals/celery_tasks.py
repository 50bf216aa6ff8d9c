"""Empty tasks with Celery on Redis: ``celery_tasks.py NUMBER`` sends that many and waits for their results.

Run by the interpreter of an environment that has Celery; ``CELERY_URL`` says where Redis is. The worker is Celery's
own: ``celery -A celery_tasks worker``, in this folder.
"""

from __future__ import annotations

import json
import os
import sys
import time

from celery import Celery
from celery.result import ResultSet

_BODY = {"prompt": "x" * 380}

app = Celery("rivals", broker=os.environ["CELERY_URL"], backend=os.environ["CELERY_URL"])


@app.task(name="rivals.echo")
def echo(body: dict[str, str]) -> int:
    return len(body)


if __name__ == "__main__":
    number = int(sys.argv[1])
    began = time.perf_counter()
    results = ResultSet([echo.delay(_BODY) for _ in range(number)])
    results.join_native(timeout=300)
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
