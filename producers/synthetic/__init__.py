"""Traffic made up from a seed: visits of people with tastes, bots, and everything that goes wrong on the way to a log."""

from producers.synthetic.catalogue import Catalogue
from producers.synthetic.run import Extent, Made, send, write_events, write_items
from producers.synthetic.settings import START_MS, Traffic
from producers.synthetic.stream import Batch, SyntheticStream

__all__ = [
    "START_MS",
    "Batch",
    "Catalogue",
    "Extent",
    "Made",
    "SyntheticStream",
    "Traffic",
    "send",
    "write_events",
    "write_items",
]
