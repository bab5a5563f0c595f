"""What an operator chose about an endpoint, by ENLARGER_OPTIONS."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from models.catalog import Endpoint
from models.options import NoOptions
from scheduler.errors import SettingsInvalid


def options_of(endpoint: Endpoint, chosen: Mapping[str, Mapping[str, Any]]) -> NoOptions:
    """Return an endpoint's options.

    Args:
        endpoint: Whose.
        chosen: By endpoint's id; what is not in it has the defaults.

    Raises:
        SettingsInvalid: There is no such choice; the message names it.
    """
    try:
        return endpoint.options_class().model_validate(chosen.get(endpoint.id, {}))
    except ValidationError as exc:
        error = exc.errors(include_url=False)[0]
        where = ".".join(map(str, error["loc"]))
        reason = f"ENLARGER_OPTIONS: {endpoint.id}: {where}: {error['msg']}"
        raise SettingsInvalid(reason, field="options") from exc
