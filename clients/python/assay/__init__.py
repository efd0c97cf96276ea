"""Assay explains what an ONNX model answered, by perturbing its input and watching its output. This is its client.

with assay.Client("127.0.0.1:50051") as client:
    model = client.upload_model("digits.onnx", name="digits")
    ex = client.explain(model, images, assay.Occlusion(window=(8, 8), stride=(4, 4)), target=3)
    ex.attributions["image"]
    ex.top_reasons(3)
"""

from importlib.metadata import PackageNotFoundError, version

from assay.async_client import AsyncClient
from assay.baselines import GaussianBlur, MeanBaseline, SegmentMean
from assay.channel import TLS
from assay.client import Client
from assay.compare import Comparison, compare
from assay.data.arrays import ArrayData
from assay.data.files import read_data
from assay.data.parts import Part
from assay.errors import (
    AlreadyExists,
    AssayError,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from assay.explanation import (
    Diagnostics,
    Estimate,
    Explanation,
    Instance,
    Progress,
    Record,
    ResolvedTarget,
    ResultWarning,
    RowScores,
    Usage,
)
from assay.features import Elements, Grid, Group, Groups, Segments, Superpixels
from assay.kept.digests import tensor_digest
from assay.kept.folder import Evidence
from assay.kept.keeping import Keeping
from assay.kept.manifest import Decision
from assay.kept.replay import Replayed, replay
from assay.methods import Jacobian, Lime, Occlusion, Rows
from assay.models import Batching, Model, ModelSpec, TensorInfo
from assay.names import Feature, WindowGrid
from assay.reasons import Reason
from assay.requests import Budget
from assay.responses import DeviceInfo, Limits, ServerInfo
from assay.statistics import GaussianTable, QuartileTable
from assay.targets import PerInstance, Target

try:
    __version__ = version("onnx-assay")
except PackageNotFoundError:  # a source tree that isn't installed
    __version__ = "0+unknown"

__all__ = [
    "TLS",
    "AlreadyExists",
    "ArrayData",
    "AssayError",
    "AsyncClient",
    "Batching",
    "Budget",
    "Cancelled",
    "Client",
    "Comparison",
    "DataLoss",
    "DeadlineExceeded",
    "Decision",
    "DeviceInfo",
    "Diagnostics",
    "Elements",
    "Estimate",
    "Evidence",
    "Explanation",
    "FailedPrecondition",
    "Feature",
    "GaussianBlur",
    "GaussianTable",
    "Grid",
    "Group",
    "Groups",
    "Instance",
    "Internal",
    "InvalidArgument",
    "Jacobian",
    "Keeping",
    "Lime",
    "Limits",
    "MeanBaseline",
    "Model",
    "ModelSpec",
    "NotFound",
    "Occlusion",
    "Part",
    "PerInstance",
    "PermissionDenied",
    "Progress",
    "QuartileTable",
    "Reason",
    "Record",
    "Replayed",
    "ResolvedTarget",
    "ResourceExhausted",
    "ResultWarning",
    "RowScores",
    "Rows",
    "SegmentMean",
    "Segments",
    "ServerInfo",
    "Superpixels",
    "Target",
    "TensorInfo",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Usage",
    "WindowGrid",
    "__version__",
    "compare",
    "read_data",
    "replay",
    "tensor_digest",
]
