"""``easel chaos``: everything is killed, stopped and cut off while requests come in; then the books are checked."""
