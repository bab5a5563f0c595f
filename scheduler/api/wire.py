"""What fal's protocol answers, as schemas: they describe documents that are made elsewhere."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

KEY = "`Key ID:SECRET` or `Bearer ID:SECRET`, with a key of `enlarger keys create`."
FILE = " An http(s) URL, a data URI, or the address of an upload or of a result."


def _header(name: str, description: str, *values: str) -> dict[str, Any]:
    """Describe a header; without values it is any text."""
    schema = {"type": "string"} | ({"enum": list(values)} if values else {})
    return {"name": name, "in": "header", "description": description, "schema": schema}


WISHES = [
    {
        "name": "fal_webhook",
        "in": "query",
        "description": "Is told of the end of the request.",
        "schema": {"type": "string"},
    },
    _header("X-Fal-Queue-Priority", "`low` waits behind all `normal`.", "normal", "low"),
    _header("X-Fal-Request-Timeout", "Seconds within which it must have started."),
    _header("X-Fal-Store-IO", "`0`: keep neither arguments nor answer.", "0", "1"),
    _header("X-Fal-No-Retry", "`1`: a failure of the world is final.", "0", "1"),
    _header("X-Fal-Object-Lifecycle-Preference", "How long its files are kept, as JSON."),
    _header("Idempotency-Key", "The same key is the same request."),
]
"""What a submission may say beside its body."""


class _Open(BaseModel):
    """A document that may have more than is described."""

    model_config = ConfigDict(extra="allow")


class Complaint(_Open):
    """What is wrong with one field."""

    loc: list[str | int] = Field(description="Where it is, from `body` on.")
    msg: str
    type: str = Field(description="A stable code, such as `image_too_large`.")
    url: str
    ctx: dict[str, Any] = Field(default={}, description="The limits.")


class InputError(_Open):
    """What is wrong with the input, or what became of it."""

    detail: list[Complaint]


class PlainError(_Open):
    """Why not."""

    detail: str


class PlatformError(_Open):
    """What went wrong that is not about the input."""

    detail: str
    error_type: str = Field(default="", description="Also in the header X-Fal-Error-Type.")


class AnyError(_Open):
    """The outcome of a request that has no result."""

    detail: str | list[Complaint]
    error_type: str = ""


class QueueReply(_Open):
    """A request that was taken in."""

    status: Literal["IN_QUEUE"]
    request_id: str
    gateway_request_id: str
    queue_position: int = Field(ge=0, description="How many are ahead of it.")
    response_url: str
    status_url: str
    cancel_url: str


class StatusReply(_Open):
    """Where a request stands; one that failed or was cancelled is completed, with an error."""

    status: Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    request_id: str
    response_url: str
    status_url: str
    cancel_url: str
    queue_position: int = Field(default=0, ge=0, description="While it is in the queue.")
    logs: list[dict[str, Any]] | None = Field(default=None, description="Where asked for.")
    error: str = Field(default="", description="Why it has no result.")
    error_type: str = ""
    metrics: dict[str, float] = Field(default={}, description="`inference_time`, in seconds.")


class CancelReply(_Open):
    """Whether a request will not run."""

    status: Literal["CANCELLATION_REQUESTED", "ALREADY_COMPLETED", "NOT_FOUND"] = "NOT_FOUND"


ANSWERS: tuple[type[BaseModel], ...] = (
    InputError,
    PlainError,
    PlatformError,
    AnyError,
    QueueReply,
    StatusReply,
    CancelReply,
)
