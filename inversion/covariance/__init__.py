"""Covariances as operators: `matvec`, `solve`, `sqrt`, `logdet`, `aggregate`; checked once, when they are made."""

from inversion.covariance.block import BlockDiagonal
from inversion.covariance.dense import Dense
from inversion.covariance.diagonal import Diagonal
from inversion.covariance.kernels import (
    chord,
    exponential,
    gaspari_cohn,
    gaussian,
    great_circle,
    matern,
    spatial,
    temporal,
)
from inversion.covariance.kronecker import Kronecker
from inversion.covariance.operator import Covariance, Factor
from inversion.covariance.ornstein_uhlenbeck import OrnsteinUhlenbeck
from inversion.covariance.scaled import Scaled

__all__ = [
    "BlockDiagonal",
    "Covariance",
    "Dense",
    "Diagonal",
    "Factor",
    "Kronecker",
    "OrnsteinUhlenbeck",
    "Scaled",
    "chord",
    "exponential",
    "gaspari_cohn",
    "gaussian",
    "great_circle",
    "matern",
    "spatial",
    "temporal",
]
