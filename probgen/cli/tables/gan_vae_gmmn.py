"""Contest, likelihood and moments: generative networks trained in three ways."""

from probgen.cli.tables.table import Table
from probgen.compare.questions import deviation, measured, noted, sound, worst

NO_ENCODER, NO_LIKELIHOOD, NO_CLASS = "no encoder", "no likelihood", "is told no class"

GAN_VAE_GMMN = Table(
    name="gan-vae-gmmn",
    title="Contest, likelihood and moments",
    kind="images",
    data="digits",
    methods=("gan", "vae", "gmmn", "mmd-gan", "cvae", "conditional-gmmn"),
    metrics=(
        "mmd2", "c2st_accuracy", "precision", "coverage", "frechet", "nll", "nn_ratio", "probe_100",
        "cluster_accuracy", "control", "fit_seconds", "seconds_per_1000",
    ),
    questions=(
        noted("Objective", "objective", "What training minimises, or what its players contend for."),
        noted(
            "Training",
            "training",
            "How it ended in the first run, and after how many steps of all players and stages together.",
        ),
        measured("Seconds to fit", "fit_seconds", "On the machine named below, beside other work."),
        measured("Seconds for 1,000 draws", "seconds_per_1000"),
        measured("Quality: MMD²", "mmd2"),
        measured("Quality: told from data", "c2st_accuracy"),
        measured("Quality: Fréchet distance", "frechet", lacking="no features"),
        measured("Quality: are they real?", "precision", "Share of draws that fall among real pictures."),
        measured("Coverage", "coverage"),
        measured("Copies?", "nn_ratio"),
        deviation(
            "Stability: deviation",
            "coverage",
            "Standard deviation of the coverage over runs from different seeds.",
        ),
        worst("Stability: worst run", "coverage", "The least coverage of all runs."),
        measured(
            "Latent structure: few labels",
            "probe_100",
            "Accuracy of a linear classifier that learns from the codes of a hundred pictures. Where nothing "
            "leads from a picture to its code there is none; a network that is told the class is not asked.",
            NO_ENCODER,
        ),
        measured(
            "Latent structure: clusters",
            "cluster_accuracy",
            "Share of held-out pictures that lie in the cluster of their class, of ten clusters of codes.",
            NO_ENCODER,
        ),
        measured(
            "Control",
            "control",
            "Share of draws of a class that was asked for which a classifier of real pictures takes for it. "
            "The floor is its accuracy on real ones.",
            NO_CLASS,
        ),
        measured(
            "Likelihood",
            "nll",
            "Negative log-likelihood of held-out pictures in nats. Networks from noise to pictures have "
            "none, and of what is told a class there is only that of a picture given its class.",
            NO_LIKELIHOOD,
        ),
        sound("Ease: sound runs", "In how many runs a method's own diagnosis found nothing wrong."),
    ),
)  # fmt: skip
"""Objective, training, quality, coverage, stability over seeds, codes, control, likelihood, ease."""
