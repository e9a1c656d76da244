"""Judging models: samples, likelihoods, guides, calibration of a sampler, codes, anomalies, robustness.

Of draws: precision, recall, neighbours, modes, classifiers that tell them from data. Of likelihoods:
``log_likelihoods`` by importance, annealing, bridges. Of a guide: against chains, by Pareto's k, by
calibration. Of codes: clusters, classes read off, disentanglement. Anomalies by scores, conformal; forecasts
by scores. Each names its source and says what it cannot see. Read first ``log_likelihoods`` and
``classifier_two_sample``.
"""

from probgen.evaluation.anomaly.anomaly_scores import anomaly_scores
from probgen.evaluation.anomaly.compression import compressed_bits
from probgen.evaluation.anomaly.conformal import conformal_p_values, conformal_threshold
from probgen.evaluation.anomaly.contamination import contamination
from probgen.evaluation.anomaly.detection import Detection, detection, detection_table
from probgen.evaluation.anomaly.regret import likelihood_regret
from probgen.evaluation.codes.between import interpolate, step_between
from probgen.evaluation.codes.clustering import Clustering, clustering, clustering_accuracy
from probgen.evaluation.codes.disentanglement.beta_vae_score import beta_vae_score
from probgen.evaluation.codes.disentanglement.dci import DCI, dci
from probgen.evaluation.codes.disentanglement.factor_vae_score import FactorVAEScore, factor_vae_score
from probgen.evaluation.codes.disentanglement.infomec import InfoMEC, infomec
from probgen.evaluation.codes.disentanglement.mutual_information_gap import (
    MutualInformationGap,
    binned_mutual_information_gap,
    mutual_information_gap,
)
from probgen.evaluation.codes.disentanglement.separated_attributes import SeparatedAttributes, sap_score
from probgen.evaluation.codes.embedding import embedding
from probgen.evaluation.codes.encoded import encoded, reconstructed
from probgen.evaluation.codes.gaps import code_gaps
from probgen.evaluation.codes.identifiability import (
    ChanceLevel,
    MeanCorrelation,
    chance_correlation,
    mean_correlation,
)
from probgen.evaluation.codes.input_use import InputUse, input_use
from probgen.evaluation.codes.restoration import psnr
from probgen.evaluation.codes.robustness import distortions, robustness
from probgen.evaluation.codes.spread import CodeSpread, code_spread
from probgen.evaluation.codes.transfer import principal_components, transfer
from probgen.evaluation.codes.usage import CodeUsage, code_usage
from probgen.evaluation.draws.classifier_features import ClassifierFeatures, classifier_features
from probgen.evaluation.draws.classifier_test import C2ST, classifier_two_sample
from probgen.evaluation.draws.copying import DataCopying, authenticity, data_copying_test
from probgen.evaluation.draws.feature_distances import FrechetDistance, frechet_distance, kernel_distance
from probgen.evaluation.draws.modes import ModeCoverage, mode_coverage
from probgen.evaluation.draws.neighbours import (
    DensityCoverage,
    PrecisionRecall,
    density_coverage,
    nearest_neighbour_ratio,
    precision_recall,
)
from probgen.evaluation.forecasts.calibration_of_forecasts import (
    Uniformity,
    interval_coverage,
    pit,
    pit_test,
)
from probgen.evaluation.forecasts.diebold_mariano import DieboldMariano, diebold_mariano
from probgen.evaluation.forecasts.options import (
    OptionPrices,
    as_martingale,
    black_scholes,
    implied_volatility,
    martingale_gap,
    option_prices,
)
from probgen.evaluation.forecasts.predictive import forecast, forecast_log_prob
from probgen.evaluation.forecasts.risk import (
    AcerbiSzekely,
    Christoffersen,
    LikelihoodRatio,
    TailRisk,
    acerbi_szekely,
    christoffersen,
    kupiec,
    tail_risk,
)
from probgen.evaluation.forecasts.scores import crps, energy_score, pinball
from probgen.evaluation.forecasts.stylised_facts import (
    autocorrelation,
    excess_kurtosis,
    hill,
    leverage,
)
from probgen.evaluation.likelihood.annealed import (
    AnnealedLikelihood,
    Bracket,
    annealed_log_likelihood,
    bracketed_log_likelihood,
)
from probgen.evaluation.likelihood.bits import bits_per_dimension
from probgen.evaluation.likelihood.importance import log_likelihood, log_likelihoods
from probgen.evaluation.likelihood.inference_gaps import InferenceGaps, inference_gaps
from probgen.evaluation.likelihood.particle_filter import filtered_log_likelihood, filtered_log_likelihoods
from probgen.evaluation.likelihood.parzen import ParzenWindow, parzen_log_likelihood
from probgen.evaluation.links.link_baselines import adamic_adar, degree_product, katz, low_rank
from probgen.evaluation.links.link_prediction import LinkScores, link_prediction
from probgen.evaluation.music import copied_share, music_statistics, nearest_passage, statistics_distance
from probgen.evaluation.posterior.active_units import active_units
from probgen.evaluation.posterior.calibration import (
    Calibration,
    JointTest,
    geweke_test,
    simulation_based_calibration,
)
from probgen.evaluation.posterior.guide_against_chains import GuideAgainstChains, guide_against_chains
from probgen.evaluation.posterior.pareto import pareto_k

__all__ = [
    "C2ST",
    "DCI",
    "AcerbiSzekely",
    "AnnealedLikelihood",
    "Bracket",
    "Calibration",
    "ChanceLevel",
    "Christoffersen",
    "ClassifierFeatures",
    "Clustering",
    "CodeSpread",
    "CodeUsage",
    "DataCopying",
    "DensityCoverage",
    "Detection",
    "DieboldMariano",
    "FactorVAEScore",
    "FrechetDistance",
    "GuideAgainstChains",
    "InferenceGaps",
    "InfoMEC",
    "InputUse",
    "JointTest",
    "LikelihoodRatio",
    "LinkScores",
    "MeanCorrelation",
    "ModeCoverage",
    "MutualInformationGap",
    "OptionPrices",
    "ParzenWindow",
    "PrecisionRecall",
    "SeparatedAttributes",
    "TailRisk",
    "Uniformity",
    "acerbi_szekely",
    "active_units",
    "adamic_adar",
    "annealed_log_likelihood",
    "anomaly_scores",
    "as_martingale",
    "authenticity",
    "autocorrelation",
    "beta_vae_score",
    "binned_mutual_information_gap",
    "bits_per_dimension",
    "black_scholes",
    "bracketed_log_likelihood",
    "chance_correlation",
    "christoffersen",
    "classifier_features",
    "classifier_two_sample",
    "clustering",
    "clustering_accuracy",
    "code_gaps",
    "code_spread",
    "code_usage",
    "compressed_bits",
    "conformal_p_values",
    "conformal_threshold",
    "contamination",
    "copied_share",
    "crps",
    "data_copying_test",
    "dci",
    "degree_product",
    "density_coverage",
    "detection",
    "detection_table",
    "diebold_mariano",
    "distortions",
    "embedding",
    "encoded",
    "energy_score",
    "excess_kurtosis",
    "factor_vae_score",
    "filtered_log_likelihood",
    "filtered_log_likelihoods",
    "forecast",
    "forecast_log_prob",
    "frechet_distance",
    "geweke_test",
    "guide_against_chains",
    "hill",
    "implied_volatility",
    "inference_gaps",
    "infomec",
    "input_use",
    "interpolate",
    "interval_coverage",
    "katz",
    "kernel_distance",
    "kupiec",
    "leverage",
    "likelihood_regret",
    "link_prediction",
    "log_likelihood",
    "log_likelihoods",
    "low_rank",
    "martingale_gap",
    "mean_correlation",
    "mode_coverage",
    "music_statistics",
    "mutual_information_gap",
    "nearest_neighbour_ratio",
    "nearest_passage",
    "option_prices",
    "pareto_k",
    "parzen_log_likelihood",
    "pinball",
    "pit",
    "pit_test",
    "precision_recall",
    "principal_components",
    "psnr",
    "reconstructed",
    "robustness",
    "sap_score",
    "simulation_based_calibration",
    "statistics_distance",
    "step_between",
    "tail_risk",
    "transfer",
]


def __dir__() -> list[str]:
    return __all__
