"""``easel top``: tenants, queues, fleet and rates, live. It reads topics and nothing else, and changes nothing."""
