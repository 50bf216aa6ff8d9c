"""`easel store`: the bucket, and the rules by which sources and sign-ins expire."""

from __future__ import annotations

import asyncio
from pathlib import Path

from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from schemas.connection import StoreSettings
from tests.ops.cli_process import easel
from transport.objects import ObjectStore


def rules_of(objects: ObjectStore) -> dict[str | None, tuple[str | None, int | None]]:
    """Name → prefix and days, as the store has them."""
    found = objects._client.get_bucket_lifecycle(objects._bucket)
    assert found is not None
    return {
        rule.rule_id: (rule.rule_filter.prefix, rule.expiration.days)
        for rule in found.rules
        if rule.rule_filter and rule.expiration
    }


async def test_sources_expire_and_other_rules_stay(store: StoreSettings, tmp_path: Path) -> None:
    assert store.access_key is not None
    assert store.secret_key is not None
    variables = {
        "EASEL_STORE_ENDPOINT": store.endpoint,
        "EASEL_STORE_BUCKET": store.bucket,
        "EASEL_STORE_ACCESS_KEY": store.access_key.get_secret_value(),
        "EASEL_STORE_SECRET_KEY": store.secret_key.get_secret_value(),
        "EASEL_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    (tmp_path / "tenants.yaml").write_text("version: 1\ntenants: [{id: acme}]\n")
    (tmp_path / "models.yaml").write_text("models: {}\n")
    mine = Rule(ENABLED, rule_filter=Filter(prefix="reports/"), rule_id="mine", expiration=Expiration(days=9))
    async with ObjectStore(store) as objects:
        objects._client.set_bucket_lifecycle(store.bucket, LifecycleConfig([mine]))
        for days in (30, 7):
            done = await asyncio.to_thread(
                easel, "store", "--sources-days", str(days), cwd=tmp_path, variables=variables
            )
            assert done.code == 0, done.err
            assert f"sources/ expires {days} days after it was written" in done.out
            assert rules_of(objects) == {
                "mine": ("reports/", 9),
                "easel-sources": ("sources/", days),
                "easel-logins": ("logins/", 30),
            }
