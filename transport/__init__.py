"""Kafka and the object store, with the traps of their clients closed: nothing above sees a client object."""
