"""A service that writes each result into SQLite exactly once: row and offset in one transaction.

``python exactly_once.py BROKER PREFIX PARTITIONS DATABASE``; a test kills it at random.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
import time

from producer_api import Received, Subscription
from schemas.connection import KafkaSettings


async def main(broker: str, prefix: str, partitions: str, path: str) -> None:
    db = sqlite3.connect(path, timeout=10, isolation_level=None)
    db.execute("CREATE TABLE IF NOT EXISTS pictures (request_id TEXT NOT NULL)")
    db.execute("CREATE TABLE IF NOT EXISTS offsets (place TEXT PRIMARY KEY, next INTEGER NOT NULL)")

    async def positions(topic: str, partition: int) -> int | None:
        found = db.execute("SELECT next FROM offsets WHERE place = ?", (f"{topic}-{partition}",)).fetchone()
        return None if found is None else int(found[0])

    async def handle(received: Received) -> None:
        place = f"{received.topic}-{received.partition}"
        db.execute("BEGIN IMMEDIATE")
        try:
            db.execute("INSERT INTO pictures VALUES (?)", (received.event.request_id,))
            # Where a kill would make a row without its offset, or an offset without its row.
            time.sleep(0.01)  # noqa: ASYNC251 - it stands for the database's own work
            db.execute("INSERT OR REPLACE INTO offsets VALUES (?, ?)", (place, received.next_offset))
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise

    kafka = KafkaSettings(bootstrap_servers=broker, prefix=prefix, partitions=int(partitions))
    subscription = Subscription(kafka, handle, group=f"{prefix}.rows", positions=positions, session_timeout_s=2)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, subscription.stop)
    await subscription.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
