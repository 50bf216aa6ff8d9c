"""Moves an installation to more partitions: every tenant's account and requests to the partition that is its home then.

``plan`` decides what goes where, without Kafka; ``move`` does it in steps, each of which may be done again.
"""
