"""The names that scripts written for the authors' repository import, on this package's operations and CPU engine.

`from aafast.compat.invprobs import deq, network_hqs as nets`; docs/compat.md has the table. Results are those of the
authors' code, quirks included; nothing here is the package's own semantics.
"""

from . import deq, forward_models, network_hqs, network_lu
from .deq import (
    DEQIPFixedPoint,
    DEQIPFixedPoint_v2,
    DEQIPFixedPoint_v3,
    anderson,
    anderson_mse,
    deblur_deq_kth_iter,
    deconv_deq_kth_iter,
    defog_deq_kth_iter,
)
from .forward_models import GaussianBlur, noisyGaussianBlur
from .network_hqs import (
    netA_deblur,
    netA_deblur_sn,
    netA_fogging_sn,
    netA_foggy,
    netA_kernel,
    netA_kernel_sn,
    proxNet_deblur,
    proxNet_deblur_sn,
    proxNet_deconv,
    proxNet_deconv_sn,
    proxNet_fog,
    proxNet_fog_sn,
)
from .network_lu import LU_deblur, LU_deconv, LU_deconv_defog
from .weights import load_state, save_state

__all__ = [
    "DEQIPFixedPoint",
    "DEQIPFixedPoint_v2",
    "DEQIPFixedPoint_v3",
    "GaussianBlur",
    "LU_deblur",
    "LU_deconv",
    "LU_deconv_defog",
    "anderson",
    "anderson_mse",
    "deblur_deq_kth_iter",
    "deconv_deq_kth_iter",
    "defog_deq_kth_iter",
    "deq",
    "forward_models",
    "load_state",
    "netA_deblur",
    "netA_deblur_sn",
    "netA_fogging_sn",
    "netA_foggy",
    "netA_kernel",
    "netA_kernel_sn",
    "network_hqs",
    "network_lu",
    "noisyGaussianBlur",
    "proxNet_deblur",
    "proxNet_deblur_sn",
    "proxNet_deconv",
    "proxNet_deconv_sn",
    "proxNet_fog",
    "proxNet_fog_sn",
    "save_state",
]
