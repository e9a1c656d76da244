"""The same density drawn by classical samplers and by networks that learned it."""

from probgen.cli.tables.table import Table
from probgen.compare.questions import measured, noted, sound

NO_DENSITY = "no density is asked"

SAMPLERS = Table(
    name="samplers",
    title="One law, drawn in many ways",
    kind="plane",
    data="ring",
    methods=("inverse", "rejection", "metropolis", "hmc", "tempered", "vae", "gmmn", "gan"),
    metrics=("mmd2", "mmd2_p", "c2st_accuracy", "coverage", "modes", "ksd2", "cost"),
    questions=(
        measured("Quality: MMD²", "mmd2"),
        measured(
            "Quality: MMD p",
            "mmd2_p",
            "P-value of the test that draws and exact draws have one law, of all runs together. Small values "
            "tell the two apart.",
        ),
        measured("Quality: told from exact", "c2st_accuracy"),
        measured("Quality: KSD²", "ksd2", lacking=NO_DENSITY),
        measured("Coverage", "coverage"),
        measured("Modes found", "modes", lacking="no separate modes"),
        measured("Shares of modes", "modes_kl", lacking="no separate modes"),
        measured(
            "Seconds to get ready",
            "fit_seconds",
            "Quadrature, the warm-up and diagnosis of chains, or training. Networks learn from 10,000 exact "
            "draws, which the others do without.",
        ),
        measured(
            "Seconds for 1,000 draws",
            "seconds_per_1000",
            "All draws are effective ones: independent, or of chains two autocorrelation times apart.",
        ),
        measured(
            "Log-densities a draw",
            "evaluations",
            "How often the log-density is evaluated for such a draw. Networks ask for none, and inversion "
            "takes the CDF in its place.",
            NO_DENSITY,
        ),
        measured("Gradients a draw", "gradients", lacking=NO_DENSITY),
        noted(
            "Steps between draws",
            "steps between draws",
            "Of a chain, in the first run: twice the autocorrelation time where chains agree.",
            "draws are independent",
        ),
        sound("Sound runs", "In how many runs a method's own diagnosis found nothing wrong."),
    ),
)
"""Quality and cost for an effective draw."""
