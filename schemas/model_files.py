"""What an entry of ``models.yaml`` loads besides its pipeline's folder, and where that comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

__all__ = ["AdapterFile", "HubPipeline", "Overlay", "Safety"]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubPipeline(_Entry):
    """A pipeline of the Hugging Face hub, at one commit: what runs tomorrow is what runs today."""

    hub: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]


class Overlay(_Entry):
    """A fine-tune's weights, to be laid over the pipeline's own when it is loaded."""

    file: Path
    """A .safetensors file; taken from the folder of the file that names it."""
    component: str = "transformer"
    """The part of the pipeline that it belongs to; ``unet`` for SD and SDXL."""
    strict: bool = False
    """Refuse the file unless its tensors are exactly those of the component."""


class AdapterFile(_Entry):
    """A LoRA that requests may name."""

    file: Path
    """A .safetensors file; taken from the folder of the file that names it. A change is taken up between batches."""
    description: str = ""


class Safety(_Entry):
    """A check of every picture before it leaves the engine."""

    checker: Path | HubPipeline
    """A ``StableDiffusionSafetyChecker``: a folder, taken from that of the file that names it; or one of the hub."""
    policy: Literal["block", "blur", "flag"] = "block"
    """What becomes of what it finds: not stored; stored as a blur; or stored as it is, for people to review. The result
    says which pictures these are."""
