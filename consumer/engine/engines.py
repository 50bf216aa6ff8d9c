"""The engines by the names that the catalogue uses. Imported when asked for: torch is slow to load."""

from __future__ import annotations

from importlib import import_module

from consumer.engine.contract import Engine, EngineError
from schemas.errors import Code

__all__ = ["ENGINES", "make_engine"]

ENGINES = {
    "diffusers": ("consumer.engine.diffusers", "DiffusersEngine"),
    "null": ("consumer.engine.null", "NullEngine"),
}


def make_engine(name: str) -> Engine:
    """A new engine. Raises ``EngineError(model_unavailable)`` for an unknown name or a library that isn't installed."""
    if name not in ENGINES:
        known = ", ".join(sorted(ENGINES))
        raise EngineError(Code.MODEL_UNAVAILABLE, f"there is no engine {name!r}; there is: {known}")
    module, attribute = ENGINES[name]
    try:
        engine: Engine = getattr(import_module(module), attribute)()
    except ImportError as error:
        raise EngineError(
            Code.MODEL_UNAVAILABLE,
            f"the engine {name!r} needs {error.name}: in a clone of easel, pip install '.[worker]'",
        ) from None
    return engine
