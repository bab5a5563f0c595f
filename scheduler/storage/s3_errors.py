"""The one place where errors of boto3 become ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoAuthTokenError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    TokenRetrievalError,
)

from models.errors import EnlargerError
from scheduler.errors import (
    AccessDenied,
    AddressInvalid,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    StorageRefused,
    StorageUnavailable,
)
from scheduler.storage.address import Address

WITHOUT_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    NoAuthTokenError,
    TokenRetrievalError,
)
CREDENTIALS_STALE = {
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
MOMENTARY = {
    "BadDigest",  # damaged on its way, as IncompleteBody
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "NoSuchUpload",  # completed by a request whose answer was lost, or tidied away
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
}
MISSING = {
    "NoSuchBucket": "there is no such bucket",
    "NoSuchKey": "nothing is stored there",
    "NoSuchVersion": "this version is not stored there",
    "MethodNotAllowed": "this version is a delete marker",
}
MISSING_STATUS = {404, 405}
MOMENTARY_STATUS = {408, 409, 429, 500, 502, 503, 504, 507}
ADDRESS_AT_FAULT = {"InvalidBucketName", "InvalidURI", "KeyTooLongError"}


@contextmanager
def s3_errors(place: Address) -> Iterator[None]:
    """Turn an error of boto3 into the error of ours that says what to do about it."""
    try:
        yield
    except ClientError as exc:
        raise _answered(exc, place) from exc
    except WITHOUT_CREDENTIALS as exc:
        reason = (
            f"{place}: no usable AWS credentials ({exc}); set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, a profile, or the machine's role"
        )
        raise AccessDenied(reason) from exc
    except ParamValidationError as exc:
        reason = f"{place}: S3 has no such address ({exc}); check bucket and key"
        raise AddressInvalid(reason) from exc
    except BotoCoreError as exc:
        raise StorageUnavailable(f"{place}: the object store is unwell: {exc}") from exc


def status_of(exc: ClientError) -> int:
    """Return the HTTP status of an answer; 0 where there was none."""
    return int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _answered(exc: ClientError, place: Address) -> EnlargerError:
    """Map an answer of the store, by its code first and its status then.

    A HEAD has no body: its code is only the status.
    """
    code = exc.response.get("Error", {}).get("Code", "")
    status = status_of(exc)
    said = f"{place}: {code} (HTTP {status}): {exc.response.get('Error', {}).get('Message', '')}"
    if code == "InvalidObjectState":
        reason = f"{place}: archived (Glacier); restore the object first, then submit it again"
        return StorageRefused(reason)
    if code in MOMENTARY or status in MOMENTARY_STATUS:
        return StorageUnavailable(said)
    if code in MISSING or status in MISSING_STATUS:
        why = MISSING.get(code, "nothing is stored there")
        return ObjectMissing(f"{place}: {why}; check the address")
    return _refused(code, status, said, place)


def _refused(code: str, status: int, said: str, place: Address) -> EnlargerError:
    if status == 412:
        reason = f"{place}: the object was replaced since it was first read; submit it again"
        return ObjectChanged(reason)
    if code in CREDENTIALS_STALE:
        remedy = "check the credentials, the clock, and ENLARGER_S3_REGION"
        return AccessDenied(f"{said}; {remedy}")
    if status in (401, 403):
        return AccessDenied(f"{said}; allow these credentials to read or write there")
    if code in ADDRESS_AT_FAULT:
        return AddressInvalid(f"{said}; shorten or correct the address")
    return StorageRefused(f"{said}; the store will not do this, however often it is asked")


def already_there(place: Address) -> ObjectExists:
    """Return the error of a write that was not to replace anything."""
    reason = f"{place}: something is stored there already, and it was not to be replaced"
    return ObjectExists(reason)
