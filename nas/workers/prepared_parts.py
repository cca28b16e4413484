"""The images that a worker trains and evaluates on, on its device."""

from __future__ import annotations

from nas.data.split import Parts
from nas.train.device_interface import Device
from nas.train.prepared_data import PreparedData, prepare


class PreparedParts:
    """The parts of a data set on a device, copied there when they are first asked for."""

    def __init__(self, parts: Parts, device: Device) -> None:
        self._parts, self._device = parts, device
        self._prepared: dict[bool, PreparedData] = {}

    def of(self, confirms: bool) -> PreparedData:
        """Return the images of confirmations, or those of trials."""
        if confirms not in self._prepared:
            p = self._parts
            pair = (p.whole_train, p.test) if confirms else (p.train, p.validation)
            self._prepared[confirms] = prepare(*pair, p.policy, self._device)
        return self._prepared[confirms]
