"""Data: real pictures, two-dimensional targets with a known law, and batches cut from tensors."""

from probgen.data.batches import Data, Indexable, batches, check_data
from probgen.data.catalogue import Entry, fetch, listing, where
from probgen.data.files import suggest
from probgen.data.images import Images, digits, mnist
from probgen.data.levels import Binarised, Dequantised, binarise, dequantise, quantise
from probgen.data.targets import TARGETS, Target, target

__all__ = [
    "TARGETS",
    "Binarised",
    "Data",
    "Dequantised",
    "Entry",
    "Images",
    "Indexable",
    "Target",
    "batches",
    "binarise",
    "check_data",
    "dequantise",
    "digits",
    "fetch",
    "listing",
    "mnist",
    "quantise",
    "suggest",
    "target",
    "where",
]
