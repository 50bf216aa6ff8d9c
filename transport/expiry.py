"""Rules by which an S3 store deletes by itself what is old."""

from __future__ import annotations

from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

__all__ = ["with_expiry"]


def with_expiry(rules: LifecycleConfig | None, prefix: str, days: int) -> LifecycleConfig:
    """``rules`` with one for ``prefix``: its objects go ``days`` days after they were written. The others stay."""
    name = f"easel-{prefix.strip('/').replace('/', '-')}"
    others = [rule for rule in rules.rules if rule.rule_id != name] if rules else []
    mine = Rule(ENABLED, rule_filter=Filter(prefix=prefix), rule_id=name, expiration=Expiration(days=days))
    return LifecycleConfig([*others, mine])
