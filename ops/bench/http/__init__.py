"""``easel bench http``: the HTTP API beside a bare service that publishes."""
