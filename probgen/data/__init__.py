"""Data: real pictures, two-dimensional targets with a known law, and batches of whatever holds data."""

from probgen.data.batches import Data, Indexable, batches, check_data
from probgen.data.catalogue import Entry, fetch, listing, where
from probgen.data.chorales import Chorales, chorales
from probgen.data.corruptions import Corrupted, GaussianNoise, Masking, Pooling, SaltAndPepper
from probgen.data.distortions import Blur, Rotation, Scaling
from probgen.data.files import digest_of, suggest
from probgen.data.images import Images, digits, mnist
from probgen.data.kidiq import kidiq
from probgen.data.levels import Binarised, Dequantised, binarise, dequantise, quantise
from probgen.data.memory_mapped import MemoryMapped
from probgen.data.missing import PartlyHidden, few_labels, filled, observed
from probgen.data.nonlinear_mixing import NonlinearICA, nonlinear_ica
from probgen.data.own_files import Sequences, Text, read
from probgen.data.ragged import Ragged
from probgen.data.sources import Source, source
from probgen.data.sprites import DSprites, Factored, Sprites, split_of_sprites, sprites
from probgen.data.tables import Table, diabetes, table
from probgen.data.targets import TARGETS, Target, target

__all__ = [
    "TARGETS",
    "Binarised",
    "Blur",
    "Chorales",
    "Corrupted",
    "DSprites",
    "Data",
    "Dequantised",
    "Entry",
    "Factored",
    "GaussianNoise",
    "Images",
    "Indexable",
    "Masking",
    "MemoryMapped",
    "NonlinearICA",
    "PartlyHidden",
    "Pooling",
    "Ragged",
    "Rotation",
    "SaltAndPepper",
    "Scaling",
    "Sequences",
    "Source",
    "Sprites",
    "Table",
    "Target",
    "Text",
    "batches",
    "binarise",
    "check_data",
    "chorales",
    "dequantise",
    "diabetes",
    "digest_of",
    "digits",
    "fetch",
    "few_labels",
    "filled",
    "kidiq",
    "listing",
    "mnist",
    "nonlinear_ica",
    "observed",
    "quantise",
    "read",
    "source",
    "split_of_sprites",
    "sprites",
    "suggest",
    "table",
    "target",
    "where",
]


def __dir__() -> list[str]:
    return __all__
