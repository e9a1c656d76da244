"""Data: real pictures, two-dimensional targets with a known law, and batches of whatever holds data."""

from probgen.data.batches import Data, Indexable, batches, check_data
from probgen.data.catalogue import Entry, fetch, listing, where
from probgen.data.files import digest_of, suggest
from probgen.data.images import Images, digits, mnist
from probgen.data.kidiq import kidiq
from probgen.data.levels import Binarised, Dequantised, binarise, dequantise, quantise
from probgen.data.memory_mapped import MemoryMapped
from probgen.data.missing import filled, observed
from probgen.data.own_files import Sequences, Text, read
from probgen.data.ragged import Ragged
from probgen.data.sources import Source, source
from probgen.data.tables import Table, diabetes, table
from probgen.data.targets import TARGETS, Target, target

__all__ = [
    "TARGETS",
    "Binarised",
    "Data",
    "Dequantised",
    "Entry",
    "Images",
    "Indexable",
    "MemoryMapped",
    "Ragged",
    "Sequences",
    "Source",
    "Table",
    "Target",
    "Text",
    "batches",
    "binarise",
    "check_data",
    "dequantise",
    "diabetes",
    "digest_of",
    "digits",
    "fetch",
    "filled",
    "kidiq",
    "listing",
    "mnist",
    "observed",
    "quantise",
    "read",
    "source",
    "suggest",
    "table",
    "target",
    "where",
]


def __dir__() -> list[str]:
    return __all__
