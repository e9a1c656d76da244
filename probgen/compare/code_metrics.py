"""The metrics of codes: what each measures, which value is best. They are computed where they are named."""

from __future__ import annotations

from probgen.compare import code_measurements as measured
from probgen.compare.columns import POSITIVE, SHARE, Column, Metric

CODE_METRICS: dict[str, Metric] = {
    "reconstruction": Metric(
        {
            "reconstruction": Column(
                "reconstruction",
                "Squared error, summed over coordinates, of held-out data that are encoded and decoded: the "
                "mean of the decoder's law at the mean code.",
                "lower",
                bounds=POSITIVE,
            ),
            "overfitting": Column(
                "overfitting",
                "Reconstruction error of held-out data over that of as many training points. 1: what is new "
                "is restored as well as what was learned.",
                1.0,
                bounds=POSITIVE,
            ),
        },
        measured.reconstruction,
        asked=True,
    ),
    "code_law": Metric(
        {
            "code_spread": Column(
                "own spread of a code",
                "Share of the variance of codes over held-out data that lies within the law of one code. 0: "
                "codes are points; 1: they say nothing of the data.",
                bounds=SHARE,
            ),
            "active_units": Column(
                "active coordinates",
                "Coordinates of the code of whose variance the data explain more than 1 %.",
                bounds=POSITIVE,
            ),
        },
        measured.code_law,
        asked=True,
    ),
    "gaps": Metric(
        {
            "code_gaps": Column(
                "gaps between codes",
                "Share of points half-way between the codes of two held-out data that decode to something "
                "farther from all training data than 95 % of decoded codes are. 0.05 where what lies between "
                "codes is as good as codes. The floor is half-way between the data themselves.",
                "lower",
                bounds=SHARE,
            ),
        },
        measured.gaps,
        asked=True,
    ),
    "probe": Metric(
        {
            f"probe_{size}": Column(
                f"probe, {size} labels",
                f"Held-out accuracy of a linear classifier that learns from the codes of {size} labelled "
                "training data, the mean over ten draws of these, the same for all methods. The floor learns "
                "from the data themselves.",
                1.0,
                bounds=SHARE,
            )
            for size in measured.SIZES
        },
        measured.probe,
        asked=True,
    ),
    "clusters": Metric(
        {
            "cluster_accuracy": Column(
                "clusters, accuracy",
                "Share of held-out data whose cluster, of as many by k-means on codes as there are classes, "
                "is that of their label under the best assignment. The floor clusters the data themselves.",
                1.0,
                bounds=SHARE,
            ),
            "cluster_nmi": Column(
                "clusters, NMI",
                "Normalised mutual information of these clusters and the labels.",
                1.0,
                bounds=SHARE,
            ),
        },
        measured.clusters,
        asked=True,
    ),
    "robustness": Metric(
        {
            "noise_error": Column(
                "error under noise",
                f"Squared error to the clean data of held-out data that are given normal noise of standard "
                f"deviation {measured.NOISE:g}, in the comparison's units, encoded and decoded. The floor "
                "leaves the noise as it is.",
                "lower",
                bounds=POSITIVE,
            ),
            "noise_probe": Column(
                "probe under noise",
                f"Accuracy of the probe of {measured.SIZES[-1]} labels, learned from clean data, on the "
                "codes of held-out data with this noise.",
                1.0,
                bounds=SHARE,
            ),
        },
        measured.robustness,
        asked=True,
    ),
    "control": Metric(
        {
            "control": Column(
                "control",
                "Share of draws of a class that was asked for, all classes alike, which a classifier of the "
                "training data takes for that class. The floor is its accuracy on held-out data.",
                "floor",
                bounds=SHARE,
            ),
        },
        measured.control,
        asked=True,
    ),
}
