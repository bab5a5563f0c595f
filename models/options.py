"""What operators choose about an endpoint: a frozen, torch-free class for each, of settings."""

from pydantic import BaseModel, ConfigDict


class NoOptions(BaseModel):
    """The base of every endpoint's options, and all there is where an endpoint has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")
