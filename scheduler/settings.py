"""Every setting in one frozen class, read from environment variables ``ENLARGER_*``."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from scheduler.errors import SettingsInvalid

MEBIBYTE = 2**20

Network: TypeAlias = IPv4Network | IPv6Network


class Settings(BaseSettings):
    """Built once in a process's `main` and passed on; never a global."""

    model_config = SettingsConfigDict(
        env_prefix="ENLARGER_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    home: Path = Field(
        default=Path("~/.local/share/enlarger"),
        description="Where an embedded system keeps its database, queue and logs.",
    )
    database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL, e.g. postgresql://user:password@host/enlarger."
    )
    redis_url: SecretStr | None = Field(
        default=None, description="Redis, e.g. redis://host:6379/0."
    )
    redis_prefix: str = Field(
        default="enlarger:",
        description="Put before every Redis key, so that systems can share one.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="`json` for machines, one object a line."
    )
    pulse: Path | None = Field(
        default=None,
        description="A file that a scheduler, sender, taker of events or worker touches as long as "
        "it lives, for health checks.",
    )

    s3_endpoint_url: str | None = Field(
        default=None, description="An S3-compatible server; empty for AWS."
    )
    s3_region: str | None = Field(default=None, description="Region, where the server needs one.")
    s3_addressing_style: Literal["auto", "path", "virtual"] = Field(
        default="auto", description="`path` for most S3-compatible servers."
    )
    s3_checksums: Literal["when_supported", "when_required"] = Field(
        default="when_supported", description="`when_required` for servers that refuse checksums."
    )
    s3_sse: Literal["AES256", "aws:kms"] | None = Field(
        default=None, description="Server-side encryption of what is written."
    )
    s3_sse_kms_key_id: str | None = Field(default=None, description="The key for `aws:kms`.")
    s3_requester_pays: bool = Field(default=False, description="Pay for reads of others' buckets.")
    s3_multipart_bytes: int = Field(
        default=16 * MEBIBYTE, ge=5 * MEBIBYTE, description="Larger objects are written in parts."
    )
    storage_timeout_s: float = Field(
        default=30.0, gt=0, description="Longest wait for one answer of a store."
    )
    storage_attempts: int = Field(
        default=4, ge=1, description="Tries of one storage call before the job backs off."
    )

    input_allow: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        description="Networks with commas between them, such as 10.0.0.0/8, that http(s) sources "
        "may lie in although they are not public.",
    )
    source_tokens: dict[str, SecretStr] = Field(
        default={},
        description="Tokens for hosts that ask for one, as JSON: an object of tokens by host; each "
        "is sent to its host only, and only by https.",
    )
    download_timeout_s: float = Field(
        default=120.0, gt=0, description="Longest time that reading one http(s) source may take."
    )

    webhook_allow: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        description="Likewise for webhooks: networks that messages may go to although they are "
        "not public.",
    )
    webhook_timeout_s: float = Field(
        default=15.0,
        gt=0,
        le=60,
        description="Longest time that sending one message may take; eight times that for fal's "
        "later tries.",
    )
    webhook_connections: int = Field(
        default=16, ge=1, le=256, description="Messages on their way to one destination at once."
    )

    max_input_bytes: int = Field(
        default=256 * MEBIBYTE, gt=0, description="Largest input file, in bytes."
    )
    max_input_pixels: int = Field(
        default=200_000_000, gt=0, description="Largest input picture, in pixels."
    )
    max_output_pixels: int = Field(
        default=1_000_000_000, gt=0, description="Largest result, in pixels."
    )

    traces_url: str | None = Field(
        default=None,
        pattern="^https?://",
        description="Where spans go by OTLP over HTTP, such as http://collector:4318/v1/traces; "
        "empty for nowhere.",
    )

    files: str | None = Field(
        default=None,
        description="Where files of requests over HTTP lie, uploads and results: a file:// folder "
        "or an s3:// prefix of their own; an embedded system keeps them in its home.",
    )
    secret_key: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Makes addresses of files unguessable and seals what is not to be kept: 32 "
        "characters or more, the same for every process; an embedded system draws its own.",
    )
    max_upload_bytes: int = Field(
        default=2048 * MEBIBYTE, gt=0, description="Largest uploaded file, in bytes."
    )
    keep_files_s: float | None = Field(
        default=30 * 24 * 3600.0,
        gt=0,
        description="How long files of requests stay where the request says nothing; empty for "
        "ever.",
    )
    s3_public_url: str | None = Field(
        default=None,
        description="How clients reach the S3 server, if not by ENLARGER_S3_ENDPOINT_URL.",
    )

    lease_s: float = Field(
        default=60.0, gt=0, description="A worker silent for this long has lost its jobs."
    )
    job_deadline_s: float = Field(
        default=3600.0, gt=0, description="A job running longer than this counts as lost."
    )
    max_failures: int = Field(
        default=3, ge=1, description="World errors and lapsed leases before a job fails."
    )
    backoff_s: float = Field(
        default=5.0, gt=0, description="First wait after a world error; doubles with each."
    )
    backoff_max_s: float = Field(default=600.0, gt=0, description="Longest wait between attempts.")
    grace_s: float = Field(
        default=25.0,
        gt=0,
        description="How long a stopping worker or API may finish what it has begun.",
    )

    poll_s: float = Field(
        default=1.0, gt=0, description="The scheduler looks for work this often even unasked."
    )
    sweep_s: float = Field(default=2.0, gt=0, description="Time between two sweeps.")
    bundle_s: float = Field(
        default=5.0,
        gt=0,
        description="A bundle is at most this much expected device time, or one job.",
    )
    bundle_jobs: int = Field(default=32, ge=1, le=500, description="Most jobs in one bundle.")
    window_jobs: int = Field(
        default=2000, ge=1, description="Most jobs of one pipeline waiting in Redis."
    )
    switch_after_s: float = Field(
        default=30.0,
        ge=0,
        description="A pipeline that nothing was done for this long makes a worker switch to it.",
    )
    ingest_rows: int = Field(default=5000, ge=1, description="Manifest rows committed at a time.")

    keep_jobs_s: float | None = Field(
        default=None,
        gt=0,
        description="How long rows and events stay after their batch has ended; empty for ever.",
    )
    keep_events_s: float | None = Field(
        default=None,
        gt=0,
        description="Likewise for events alone, where they may go before the rows.",
    )
    keep_results_s: float | None = Field(
        default=None,
        gt=0,
        description="How long results stay in the store after their batch has ended; empty for "
        "ever. Rows stay at least until then.",
    )

    event_queues: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Addresses of SQS queues of bucket events, or of Redis lists "
        "(redis://host:6379/0#key), with commas between them.",
    )
    event_token: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="What MinIO, Ceph and EventBridge say to be let in at /events/s3.",
    )
    event_topics: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="ARNs of the SNS topics that may send to /events/s3, with commas between them.",
    )
    keep_taken_s: float | None = Field(
        default=None,
        ge=14 * 24 * 3600,
        description="How long it is remembered which objects a trigger took, at least the two "
        "weeks for which a queue can repeat them; empty for ever.",
    )

    reuse_s: float = Field(
        default=30 * 24 * 3600.0,
        ge=0,
        description="How long a result is remembered for equal images of later batches; 0 for "
        "never.",
    )

    inflight_bytes: int = Field(
        default=2048 * MEBIBYTE,
        gt=0,
        description="Decoded pictures a worker holds at once, in bytes.",
    )
    fetch_threads: int = Field(default=8, ge=1, description="Inputs a worker fetches at once.")
    store_threads: int = Field(default=8, ge=1, description="Results a worker stores at once.")
    device_memory_bytes: int | None = Field(
        default=None,
        gt=0,
        description="Budget for resident pipelines; empty for what the device has.",
    )
    weights: str | None = Field(
        default=None,
        description="Where weights lie: a folder, or an s3:// prefix that workers copy from.",
    )
    weights_cache: Path = Field(
        default=Path("~/.cache/enlarger/weights"),
        description="Where a worker keeps its copy of weights from s3://.",
    )
    brought_weights: Path = Field(
        default=Path("~/.cache/enlarger/brought"),
        description="Where a worker keeps files of weights that requests name.",
    )
    brought_weights_bytes: int = Field(
        default=32 * 2**30,
        ge=0,
        description="How much of them is kept; the least recently used go first.",
    )
    brought_weights_timeout_s: float = Field(
        default=1800.0, gt=0, description="Longest time that fetching one of them may take."
    )
    options: dict[str, dict[str, Any]] = Field(
        default={},
        description="What operators choose about endpoints, as JSON: an object for each endpoint.",
    )
    jpeg_quality: int = Field(
        default=95, ge=1, le=100, description="Quality of JPEG and WebP results."
    )

    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$",
        description="Address of the API as its callers see it; empty for what each request says.",
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        description="Networks with commas between them, whose X-Forwarded-Proto and "
        "X-Forwarded-Host are believed.",
    )
    api_places: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Places with commas between them, s3://bucket/prefix or file:///folder, that "
        "batches over HTTP may read from and write to.",
    )
    api_hosts: dict[str, Literal["queue", "run", "rest", "cdn"]] = Field(
        default={},
        description="Further names of hosts that select an area of the API, as JSON: "
        '`{"queue.example.org": "queue"}`.',
    )
    max_body_bytes: int = Field(
        default=32 * MEBIBYTE,
        gt=0,
        description="Largest JSON body over HTTP, data URIs included, in bytes.",
    )

    @field_validator(
        "input_allow",
        "webhook_allow",
        "trusted_proxies",
        "api_places",
        "event_queues",
        "event_topics",
        mode="before",
    )
    @classmethod
    def _part_list(cls, value: object) -> object:
        """Take a list as an environment variable has it: with commas."""
        if not isinstance(value, str):
            return value
        return [each.strip() for each in value.split(",") if each.strip()]


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsInvalid: A variable's value won't do; the message names it and its limit.
    """
    try:
        return Settings()
    except ValidationError as exc:
        error = exc.errors(include_url=False)[0]
        name = str(error["loc"][0])
        reason = f"ENLARGER_{name.upper()}: {error['input']!r} won't do: {error['msg']}"
        raise SettingsInvalid(reason, field=name) from exc
