"""What operators choose about an endpoint: a frozen, torch-free class for each, of settings."""

from pydantic import BaseModel, ConfigDict

from models.checkpoint.manifest import Part, Variant


class NoOptions(BaseModel):
    """The base of every endpoint's options, and all there is where an endpoint has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def parts(self, variant: Variant) -> tuple[Part, ...]:
        """Return the files of a variant that these choices need, others than it names included."""
        return variant.parts

    def borrows(self) -> tuple[str, ...]:
        """Name the endpoints whose pipelines are used on the way."""
        return ()
