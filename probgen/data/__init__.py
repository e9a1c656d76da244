"""Data: real pictures, two-dimensional targets with a known law, and batches of whatever holds data.

``digits``, ``mnist``, ``sprites``, ``diabetes``, ``chorales`` and others are fetched once and verified;
``listing`` says what there is, ``where`` in which folder. ``target`` has laws on the plane with exact draws.
``read`` and ``table`` take files of your own; ``Corrupted``, ``Binarised``, ``PartlyHidden`` change data as
they are looked at. Read first ``listing``, ``read`` and ``Data``, which says what a training takes.
"""

from probgen.data.batches import Data, Indexable, batches, check_data
from probgen.data.catalogue import Entry, fetch, listing, where
from probgen.data.chorales import Chorales, chorales
from probgen.data.corruptions import Corrupted, GaussianNoise, Masking, Pooling, SaltAndPepper
from probgen.data.distortions import Blur, Rotation, Scaling
from probgen.data.exchange_rates_and_vix import Prices, exchange_rates, log_returns, vix
from probgen.data.files import digest_of, suggest
from probgen.data.fonts import Fonts, fonts
from probgen.data.graphs import GRAPHS, Graph, graph
from probgen.data.held_out_links import HeldOut, LinkSplit, split_links
from probgen.data.images import Images, digits, mnist
from probgen.data.kidiq import kidiq
from probgen.data.levels import Binarised, Dequantised, binarise, dequantise, quantise
from probgen.data.log_mel import LogMel, griffin_lim
from probgen.data.memory_mapped import MemoryMapped
from probgen.data.midi import write_midi
from probgen.data.missing import PartlyHidden, few_labels, filled, observed
from probgen.data.molecules import BondMatrix, MoleculeGraphs, molecules
from probgen.data.movielens import Ratings, ratings
from probgen.data.moving_digits import moving_digits
from probgen.data.nonlinear_mixing import NonlinearICA, nonlinear_ica
from probgen.data.own_files import Sequences, read
from probgen.data.pair_encoding import PairEncoding
from probgen.data.ragged import Ragged
from probgen.data.read_midi import read_midi
from probgen.data.share_prices import share_prices, sp500
from probgen.data.smiles import smiles
from probgen.data.sources import Source, source
from probgen.data.speech import Speech, speech
from probgen.data.sprites import DSprites, Factored, Sprites, split_of_sprites, sprites
from probgen.data.tables import Table, diabetes, table
from probgen.data.targets import TARGETS, Target, target
from probgen.data.text import Sentences, Text, text, verse_lines
from probgen.data.tones import sound_of
from probgen.data.transposed import Transposed
from probgen.data.vocabulary import END, PAD, Vocabulary, lengths_of
from probgen.data.wav import read_wav, wav_bytes

__all__ = [
    "END",
    "GRAPHS",
    "PAD",
    "TARGETS",
    "Binarised",
    "Blur",
    "BondMatrix",
    "Chorales",
    "Corrupted",
    "DSprites",
    "Data",
    "Dequantised",
    "Entry",
    "Factored",
    "Fonts",
    "GaussianNoise",
    "Graph",
    "HeldOut",
    "Images",
    "Indexable",
    "LinkSplit",
    "LogMel",
    "Masking",
    "MemoryMapped",
    "MoleculeGraphs",
    "NonlinearICA",
    "PairEncoding",
    "PartlyHidden",
    "Pooling",
    "Prices",
    "Ragged",
    "Ratings",
    "Rotation",
    "SaltAndPepper",
    "Scaling",
    "Sentences",
    "Sequences",
    "Source",
    "Speech",
    "Sprites",
    "Table",
    "Target",
    "Text",
    "Transposed",
    "Vocabulary",
    "batches",
    "binarise",
    "check_data",
    "chorales",
    "dequantise",
    "diabetes",
    "digest_of",
    "digits",
    "exchange_rates",
    "fetch",
    "few_labels",
    "filled",
    "fonts",
    "graph",
    "griffin_lim",
    "kidiq",
    "lengths_of",
    "listing",
    "log_returns",
    "mnist",
    "molecules",
    "moving_digits",
    "nonlinear_ica",
    "observed",
    "quantise",
    "ratings",
    "read",
    "read_midi",
    "read_wav",
    "share_prices",
    "smiles",
    "sound_of",
    "source",
    "sp500",
    "speech",
    "split_links",
    "split_of_sprites",
    "sprites",
    "suggest",
    "table",
    "target",
    "text",
    "verse_lines",
    "vix",
    "wav_bytes",
    "where",
    "write_midi",
]


def __dir__() -> list[str]:
    return __all__
