"""A real Kafka and a real object store on a developer's machine, without Docker.

Start with `ops.local.stack`: it starts the parts, waits until each answers, and stops exactly what it started.
"""
