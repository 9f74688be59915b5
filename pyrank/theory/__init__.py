"""Closed forms to hold simulations against, each with its source; no module here knows of chains or tensors.

Growth rates of unnormalised linear chains
    `ginibre_lyapunov_exponents`      Newman's exponents of products of gaussian W
    `ginibre_lyapunov_variances`      their variances per layer
    `ginibre_numerical_rank`          how many singular values they leave above a tolerance
    `residual_top_exponent`           top exponent of products of I + gamma W, a Poisson mixture of digammas
    `residual_top_variance`           its variance per layer
    `residual_lyapunov_spectrum`      all exponents of I + gamma W, by a Monte-Carlo QR expectation, with errors
    `residual_gap`                    its first exponent less the second, as a series: how fast the rank collapses
    `weak_residual_exponents`         all of them to leading order in gamma
Spectrum of products of a few gaussian matrices
    `ginibre_product_density`         Fuss-Catalan density of the squared singular values
    `ginibre_product_cdf`             its distribution function
    `ginibre_product_edge`            its upper edge
    `ginibre_product_moment`          its moments
    `ginibre_product_second_moments`  E ||P P^T||_F^2 and E Tr(P P^T)^2 at every width
Rank
    `soft_rank_bound`                 least soft rank for a participation ratio (Lemma 1, Theorem 2)
    `orthogonality_gap`               V from the participation ratio, V^2 = 1/r - 1/N
    `ratio_from_gap`                  and back
    `full_rank_batch`                 largest batch that keeps full rank under BN, to leading order in the width
    `batch_spectrum_edge`             lower edge of the spectrum of a batch, to leading order
    `batch_spectrum_ratio`            its participation ratio, to leading order
Angles between samples in layers of infinite width
    `step_kernel`                     dual kernel of the step function
    `relu_kernel`                     dual kernel of ReLU
    `leaky_relu_kernel`               dual kernel of the leaky ReLU
    `relu_gram`                       Gram matrix of ReLU features
    `recentred_relu_gram`             one layer of recentring and ReLU
    `recentred_relu_cosine`           its symmetric fixed point, with or without rescaling
    `recentred_relu_multipliers`      how fast deviations from that decay
    `outlier_gram`                    its other fixed point: an outlier and a cluster in one point
    `cluster_multiplier`              how fast distances within that cluster grow
    `escaped_gram`                    the state that attracts instead: an outlier and a cluster of some spread
    `escaped_shape`                   its lengths and angles, as an `EscapedShape`
    `escaped_multiplier`              how fast deviations from that decay
    `escaped_mixture`                 a state between the symmetric one and that
    `critical_mixture`                from which share on it becomes that
    `rescaled_relu_map`               one layer of rescaling and ReLU, without recentring
    `rescaled_cosine`                 the cosine before the activation of that layer
    `rescaled_relu_cosine`            the fixed point: "about 60 degrees"
    `settled_angles`                  angles at the fixed points of rescaling and ReLU, with or without recentring
    `angle_degrees`                   a cosine as an angle
Descent with and without normalisation
    `pseudo_condition_number`         what the condition number of least squares becomes with normalisation
    `normalized_curvatures`           the eigenvalues that it is the ratio of
    `descent_rate`                    how fast plain descent on least squares ends, for a constant step
    `normalized_descent_rate`         how fast the normalised one does
    `best_descent_rate`               either one at its best step
    `linear_gradients`                gradients through a layer
    `normalized_gradients`            gradients through a normalised layer, as `LayerGradients`
"""

from pyrank.theory.batch_spectrum import batch_spectrum_edge, batch_spectrum_ratio, full_rank_batch
from pyrank.theory.centred_angles import (
    angle_degrees,
    outlier_gram,
    recentred_relu_cosine,
    recentred_relu_gram,
    recentred_relu_multipliers,
)
from pyrank.theory.escaped_mixture import critical_mixture, escaped_mixture
from pyrank.theory.escaped_state import (
    EscapedShape,
    cluster_multiplier,
    escaped_gram,
    escaped_multiplier,
    escaped_shape,
)
from pyrank.theory.ginibre_products import (
    ginibre_product_cdf,
    ginibre_product_density,
    ginibre_product_edge,
    ginibre_product_moment,
    ginibre_product_second_moments,
)
from pyrank.theory.layer_gradients import LayerGradients, linear_gradients, normalized_gradients
from pyrank.theory.lyapunov_ginibre import (
    ginibre_lyapunov_exponents,
    ginibre_lyapunov_variances,
    ginibre_numerical_rank,
)
from pyrank.theory.lyapunov_residual import (
    residual_lyapunov_spectrum,
    residual_top_exponent,
    residual_top_variance,
    weak_residual_exponents,
)
from pyrank.theory.normalized_descent import (
    best_descent_rate,
    descent_rate,
    normalized_curvatures,
    normalized_descent_rate,
    pseudo_condition_number,
)
from pyrank.theory.orthogonality_gap import orthogonality_gap, ratio_from_gap
from pyrank.theory.relu_kernel import leaky_relu_kernel, relu_gram, relu_kernel, step_kernel
from pyrank.theory.rescaled_relu import rescaled_cosine, rescaled_relu_cosine, rescaled_relu_map
from pyrank.theory.residual_gap import residual_gap
from pyrank.theory.settled_angles import settled_angles
from pyrank.theory.soft_rank_bound import soft_rank_bound

__all__ = [
    "EscapedShape",
    "LayerGradients",
    "angle_degrees",
    "batch_spectrum_edge",
    "batch_spectrum_ratio",
    "best_descent_rate",
    "cluster_multiplier",
    "critical_mixture",
    "descent_rate",
    "escaped_gram",
    "escaped_mixture",
    "escaped_multiplier",
    "escaped_shape",
    "full_rank_batch",
    "ginibre_lyapunov_exponents",
    "ginibre_lyapunov_variances",
    "ginibre_numerical_rank",
    "ginibre_product_cdf",
    "ginibre_product_density",
    "ginibre_product_edge",
    "ginibre_product_moment",
    "ginibre_product_second_moments",
    "leaky_relu_kernel",
    "linear_gradients",
    "normalized_curvatures",
    "normalized_descent_rate",
    "normalized_gradients",
    "orthogonality_gap",
    "outlier_gram",
    "pseudo_condition_number",
    "ratio_from_gap",
    "recentred_relu_cosine",
    "recentred_relu_gram",
    "recentred_relu_multipliers",
    "relu_gram",
    "relu_kernel",
    "rescaled_cosine",
    "rescaled_relu_cosine",
    "rescaled_relu_map",
    "residual_gap",
    "residual_lyapunov_spectrum",
    "residual_top_exponent",
    "residual_top_variance",
    "settled_angles",
    "soft_rank_bound",
    "step_kernel",
    "weak_residual_exponents",
]
