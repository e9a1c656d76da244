"""Autoencoder against variational autoencoder, beside principal components."""

from probgen.cli.tables.table import Table
from probgen.compare.questions import measured, sound

NO_CODE = "no code"

AE_VAE = Table(
    name="ae-vae",
    title="Autoencoder against variational autoencoder",
    kind="images",
    data="digits",
    methods=("principal-components", "autoencoder", "vae"),
    metrics=(
        "reconstruction", "code_law", "gaps", "probe_100", "cluster_accuracy", "robustness",
        "c2st_accuracy", "precision", "coverage", "nll", "nn_ratio", "fit_seconds",
    ),
    questions=(
        measured(
            "Reconstruction",
            "reconstruction",
            "What is lost on the way through the code: the squared error of held-out pictures, summed over "
            "pixels. Of linear codes no other loses less on the training data than principal components.",
        ),
        measured(
            "Overfitting",
            "overfitting",
            "The error of held-out pictures over that of pictures that were learned: 1 without overfitting. "
            "Held-out pictures may differ in kind too, by which even a linear code of few numbers loses a "
            "little.",
        ),
        measured(
            "Point or law",
            "code_spread",
            "How much of the spread of codes is that of the law of a single one: 0 of an autoencoder, whose "
            "codes are points, above it of a VAE, which blurs what it has no use for, and 1 of a code that "
            "says nothing.",
            NO_CODE,
        ),
        measured("Coordinates in use", "active_units", lacking=NO_CODE),
        measured(
            "Gaps between codes",
            "code_gaps",
            "Of points half-way between the codes of two pictures the share that decodes to something "
            "farther from all training pictures than 95 % of decoded codes are: 0.05 without gaps. A blurred "
            "decoder is never far from data: read it beside the rows on draws.",
            NO_CODE,
        ),
        measured(
            "Draws: are they real?",
            "precision",
            "Share of decoded draws that fall among real pictures. A VAE decodes draws of its prior; an "
            "autoencoder has none, and decodes draws of a mixture of normal laws fitted to its codes "
            "afterwards; principal components have one normal law.",
        ),
        measured("Draws: is all there?", "coverage"),
        measured("Draws: told from data", "c2st_accuracy"),
        measured("Draws: copies?", "nn_ratio"),
        measured(
            "Likelihood",
            "nll",
            "Negative log-likelihood of held-out pictures in nats, by importance sampling; of principal "
            "components by a bound. Codes that are points give no likelihood.",
            "codes are points",
        ),
        measured(
            "Robustness: restored",
            "noise_error",
            "The squared error to the clean picture of what is restored from one with noise, which no "
            "training has shown. The noise alone, left as it is, makes the error of the floor.",
        ),
        measured("Robustness: recognised", "noise_probe", lacking="no labels"),
        measured("Few labels", "probe_100", lacking="no labels"),
        measured("Classes without labels", "cluster_accuracy", lacking="no labels"),
        measured("Seconds to fit", "fit_seconds", "On the machine named below, beside other work."),
        sound("Sound runs", "In how many runs a method's own diagnosis found nothing wrong."),
    ),
)  # fmt: skip
"""Reconstruction, point or law, gaps between codes, draws, robustness, overfitting, and what codes tell."""
