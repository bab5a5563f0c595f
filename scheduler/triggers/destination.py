"""What a rule's results are: their format, and where each goes."""

from dataclasses import dataclass

from models import catalog
from scheduler import arguments
from scheduler.ledger.trigger_tables import Trigger
from scheduler.naming import Naming
from scheduler.triggers.arrival import Arrival
from scheduler.triggers.filters import root_of
from scheduler.triggers.template import Template, parse_template


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a rule's results go.

    Attributes:
        template: Its destination.
        suffix: Of its results' format.
        root: The key of the folder that its names are relative to.
    """

    template: Template
    suffix: str
    root: str

    def relative(self, arrival: Arrival) -> str:
        """Return where an object's result goes, relative to the template's folder."""
        return self.template.fill(arrival, root=self.root, suffix=self.suffix)

    def address(self, arrival: Arrival) -> str:
        """Return where an object's result goes.

        Raises:
            RowInvalid: The name is impossible, or would leave the folder.
        """
        naming = Naming(destination=self.template.folder)
        relative = self.relative(arrival)
        return naming.result(arrival.address, suffix=self.suffix, explicit=relative)

    def version(self, arrival: Arrival) -> str | None:
        """Return the version to read: what is newest, where one result stands for all versions.

        Else an old version, whose job was delayed, would be written over the result of a new one.
        """
        return arrival.version if self.template.tells_versions_apart else None


def target_of(trigger: Trigger) -> Target:
    """Return where a rule's results go.

    Raises:
        ArgumentInvalid: The endpoint does not take its arguments.
        UnknownEndpoint: The catalogue has no such endpoint.
        TriggerInvalid: The destination won't do.
    """
    checked = arguments.checked(trigger.endpoint, trigger.arguments)
    request = catalog.find(trigger.endpoint).request_class()
    encoding = request.model_validate(
        {arguments.IMAGE: arguments.PLACEHOLDER, **checked}
    ).encoding()
    suffix = str(encoding)
    template = parse_template(trigger.destination, suffix=suffix)
    return Target(template=template, suffix=suffix, root=root_of(trigger))
