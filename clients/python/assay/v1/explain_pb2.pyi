from assay.v1 import model_service_pb2 as _model_service_pb2
from assay.v1 import record_pb2 as _record_pb2
from assay.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Scale(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCALE_UNSPECIFIED: _ClassVar[Scale]
    SCALE_RAW: _ClassVar[Scale]
    SCALE_LOGIT: _ClassVar[Scale]
    SCALE_LOG: _ClassVar[Scale]

class EdgeRule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EDGE_RULE_UNSPECIFIED: _ClassVar[EdgeRule]
    EDGE_RULE_CLIP: _ClassVar[EdgeRule]
    EDGE_RULE_VALID: _ClassVar[EdgeRule]

class Surrogate(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SURROGATE_UNSPECIFIED: _ClassVar[Surrogate]
    SURROGATE_RIDGE: _ClassVar[Surrogate]
    SURROGATE_LASSO: _ClassVar[Surrogate]
    SURROGATE_TREE: _ClassVar[Surrogate]

class DifferenceScheme(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIFFERENCE_SCHEME_UNSPECIFIED: _ClassVar[DifferenceScheme]
    DIFFERENCE_SCHEME_FORWARD: _ClassVar[DifferenceScheme]
    DIFFERENCE_SCHEME_CENTRAL: _ClassVar[DifferenceScheme]
    DIFFERENCE_SCHEME_RICHARDSON: _ClassVar[DifferenceScheme]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_LOW: _ClassVar[Priority]
    PRIORITY_NORMAL: _ClassVar[Priority]
    PRIORITY_HIGH: _ClassVar[Priority]

class OnBudget(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_BUDGET_UNSPECIFIED: _ClassVar[OnBudget]
    ON_BUDGET_FAIL: _ClassVar[OnBudget]
    ON_BUDGET_PARTIAL: _ClassVar[OnBudget]

class OnInstanceError(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_INSTANCE_ERROR_UNSPECIFIED: _ClassVar[OnInstanceError]
    ON_INSTANCE_ERROR_FAIL: _ClassVar[OnInstanceError]
    ON_INSTANCE_ERROR_SKIP: _ClassVar[OnInstanceError]

class Completion(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPLETION_UNSPECIFIED: _ClassVar[Completion]
    COMPLETION_FULL: _ClassVar[Completion]
    COMPLETION_PARTIAL: _ClassVar[Completion]

class WarningCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WARNING_CODE_UNSPECIFIED: _ClassVar[WarningCode]
    WARNING_CODE_ROW_BY_ROW: _ClassVar[WarningCode]
    WARNING_CODE_CPU_FALLBACK: _ClassVar[WarningCode]
    WARNING_CODE_BASELINE_EQUALS_INPUT: _ClassVar[WarningCode]
    WARNING_CODE_ZERO_JACOBIAN: _ClassVar[WarningCode]
    WARNING_CODE_LOW_FIT: _ClassVar[WarningCode]
    WARNING_CODE_SCALE_CLIPPED: _ClassVar[WarningCode]
    WARNING_CODE_ERROR_NOT_REACHED: _ClassVar[WarningCode]
SCALE_UNSPECIFIED: Scale
SCALE_RAW: Scale
SCALE_LOGIT: Scale
SCALE_LOG: Scale
EDGE_RULE_UNSPECIFIED: EdgeRule
EDGE_RULE_CLIP: EdgeRule
EDGE_RULE_VALID: EdgeRule
SURROGATE_UNSPECIFIED: Surrogate
SURROGATE_RIDGE: Surrogate
SURROGATE_LASSO: Surrogate
SURROGATE_TREE: Surrogate
DIFFERENCE_SCHEME_UNSPECIFIED: DifferenceScheme
DIFFERENCE_SCHEME_FORWARD: DifferenceScheme
DIFFERENCE_SCHEME_CENTRAL: DifferenceScheme
DIFFERENCE_SCHEME_RICHARDSON: DifferenceScheme
PRIORITY_UNSPECIFIED: Priority
PRIORITY_LOW: Priority
PRIORITY_NORMAL: Priority
PRIORITY_HIGH: Priority
ON_BUDGET_UNSPECIFIED: OnBudget
ON_BUDGET_FAIL: OnBudget
ON_BUDGET_PARTIAL: OnBudget
ON_INSTANCE_ERROR_UNSPECIFIED: OnInstanceError
ON_INSTANCE_ERROR_FAIL: OnInstanceError
ON_INSTANCE_ERROR_SKIP: OnInstanceError
COMPLETION_UNSPECIFIED: Completion
COMPLETION_FULL: Completion
COMPLETION_PARTIAL: Completion
WARNING_CODE_UNSPECIFIED: WarningCode
WARNING_CODE_ROW_BY_ROW: WarningCode
WARNING_CODE_CPU_FALLBACK: WarningCode
WARNING_CODE_BASELINE_EQUALS_INPUT: WarningCode
WARNING_CODE_ZERO_JACOBIAN: WarningCode
WARNING_CODE_LOW_FIT: WarningCode
WARNING_CODE_SCALE_CLIPPED: WarningCode
WARNING_CODE_ERROR_NOT_REACHED: WarningCode

class OutputIndex(_message.Message):
    __slots__ = ("position",)
    POSITION_FIELD_NUMBER: _ClassVar[int]
    position: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, position: _Optional[_Iterable[int]] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("output", "index", "label", "top_rank", "weights", "scale")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    TOP_RANK_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    output: str
    index: OutputIndex
    label: str
    top_rank: int
    weights: _tensor_pb2.Tensor
    scale: Scale
    def __init__(self, output: _Optional[str] = ..., index: _Optional[_Union[OutputIndex, _Mapping]] = ..., label: _Optional[str] = ..., top_rank: _Optional[int] = ..., weights: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., scale: _Optional[_Union[Scale, str]] = ...) -> None: ...

class InstanceTargets(_message.Message):
    __slots__ = ("targets",)
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    targets: _containers.RepeatedCompositeFieldContainer[Target]
    def __init__(self, targets: _Optional[_Iterable[_Union[Target, _Mapping]]] = ...) -> None: ...

class ResolvedTarget(_message.Message):
    __slots__ = ("output", "index", "label", "top_rank", "weights_digest", "scale")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    TOP_RANK_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    output: str
    index: _containers.RepeatedScalarFieldContainer[int]
    label: str
    top_rank: int
    weights_digest: str
    scale: Scale
    def __init__(self, output: _Optional[str] = ..., index: _Optional[_Iterable[int]] = ..., label: _Optional[str] = ..., top_rank: _Optional[int] = ..., weights_digest: _Optional[str] = ..., scale: _Optional[_Union[Scale, str]] = ...) -> None: ...

class Features(_message.Message):
    __slots__ = ("elements", "grid", "superpixels", "segments", "groups")
    class Elements(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Grid(_message.Message):
        __slots__ = ("rows", "cols")
        ROWS_FIELD_NUMBER: _ClassVar[int]
        COLS_FIELD_NUMBER: _ClassVar[int]
        rows: int
        cols: int
        def __init__(self, rows: _Optional[int] = ..., cols: _Optional[int] = ...) -> None: ...
    class Superpixels(_message.Message):
        __slots__ = ("count", "compactness")
        COUNT_FIELD_NUMBER: _ClassVar[int]
        COMPACTNESS_FIELD_NUMBER: _ClassVar[int]
        count: int
        compactness: float
        def __init__(self, count: _Optional[int] = ..., compactness: _Optional[float] = ...) -> None: ...
    class Segments(_message.Message):
        __slots__ = ("input", "ids")
        INPUT_FIELD_NUMBER: _ClassVar[int]
        IDS_FIELD_NUMBER: _ClassVar[int]
        input: str
        ids: _tensor_pb2.Tensor
        def __init__(self, input: _Optional[str] = ..., ids: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...
    class SegmentsList(_message.Message):
        __slots__ = ("inputs",)
        INPUTS_FIELD_NUMBER: _ClassVar[int]
        inputs: _containers.RepeatedCompositeFieldContainer[Features.Segments]
        def __init__(self, inputs: _Optional[_Iterable[_Union[Features.Segments, _Mapping]]] = ...) -> None: ...
    class Groups(_message.Message):
        __slots__ = ("groups",)
        GROUPS_FIELD_NUMBER: _ClassVar[int]
        groups: _containers.RepeatedCompositeFieldContainer[_model_service_pb2.Group]
        def __init__(self, groups: _Optional[_Iterable[_Union[_model_service_pb2.Group, _Mapping]]] = ...) -> None: ...
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    SUPERPIXELS_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    elements: Features.Elements
    grid: Features.Grid
    superpixels: Features.Superpixels
    segments: Features.SegmentsList
    groups: Features.Groups
    def __init__(self, elements: _Optional[_Union[Features.Elements, _Mapping]] = ..., grid: _Optional[_Union[Features.Grid, _Mapping]] = ..., superpixels: _Optional[_Union[Features.Superpixels, _Mapping]] = ..., segments: _Optional[_Union[Features.SegmentsList, _Mapping]] = ..., groups: _Optional[_Union[Features.Groups, _Mapping]] = ...) -> None: ...

class FeatureInfo(_message.Message):
    __slots__ = ("id", "name", "elements")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    elements: int
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., elements: _Optional[int] = ...) -> None: ...

class AxisSizes(_message.Message):
    __slots__ = ("input", "sizes")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    input: str
    sizes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, input: _Optional[str] = ..., sizes: _Optional[_Iterable[int]] = ...) -> None: ...

class InputDouble(_message.Message):
    __slots__ = ("input", "value")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    input: str
    value: float
    def __init__(self, input: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class InputTensor(_message.Message):
    __slots__ = ("input", "tensor")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    input: str
    tensor: _tensor_pb2.Tensor
    def __init__(self, input: _Optional[str] = ..., tensor: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class Occlusion(_message.Message):
    __slots__ = ("window", "stride", "features", "baseline", "edge")
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    EDGE_FIELD_NUMBER: _ClassVar[int]
    window: _containers.RepeatedCompositeFieldContainer[AxisSizes]
    stride: _containers.RepeatedCompositeFieldContainer[AxisSizes]
    features: Features
    baseline: _containers.RepeatedCompositeFieldContainer[_model_service_pb2.Baseline]
    edge: EdgeRule
    def __init__(self, window: _Optional[_Iterable[_Union[AxisSizes, _Mapping]]] = ..., stride: _Optional[_Iterable[_Union[AxisSizes, _Mapping]]] = ..., features: _Optional[_Union[Features, _Mapping]] = ..., baseline: _Optional[_Iterable[_Union[_model_service_pb2.Baseline, _Mapping]]] = ..., edge: _Optional[_Union[EdgeRule, str]] = ...) -> None: ...

class QuartileColumn(_message.Message):
    __slots__ = ("input", "element", "boundaries", "frequencies", "means", "stds", "mins", "maxs", "missing_rate")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    BOUNDARIES_FIELD_NUMBER: _ClassVar[int]
    FREQUENCIES_FIELD_NUMBER: _ClassVar[int]
    MEANS_FIELD_NUMBER: _ClassVar[int]
    STDS_FIELD_NUMBER: _ClassVar[int]
    MINS_FIELD_NUMBER: _ClassVar[int]
    MAXS_FIELD_NUMBER: _ClassVar[int]
    MISSING_RATE_FIELD_NUMBER: _ClassVar[int]
    input: str
    element: int
    boundaries: _containers.RepeatedScalarFieldContainer[float]
    frequencies: _containers.RepeatedScalarFieldContainer[float]
    means: _containers.RepeatedScalarFieldContainer[float]
    stds: _containers.RepeatedScalarFieldContainer[float]
    mins: _containers.RepeatedScalarFieldContainer[float]
    maxs: _containers.RepeatedScalarFieldContainer[float]
    missing_rate: float
    def __init__(self, input: _Optional[str] = ..., element: _Optional[int] = ..., boundaries: _Optional[_Iterable[float]] = ..., frequencies: _Optional[_Iterable[float]] = ..., means: _Optional[_Iterable[float]] = ..., stds: _Optional[_Iterable[float]] = ..., mins: _Optional[_Iterable[float]] = ..., maxs: _Optional[_Iterable[float]] = ..., missing_rate: _Optional[float] = ...) -> None: ...

class GaussianColumn(_message.Message):
    __slots__ = ("input", "element", "mean", "std", "missing_rate")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    MISSING_RATE_FIELD_NUMBER: _ClassVar[int]
    input: str
    element: int
    mean: float
    std: float
    missing_rate: float
    def __init__(self, input: _Optional[str] = ..., element: _Optional[int] = ..., mean: _Optional[float] = ..., std: _Optional[float] = ..., missing_rate: _Optional[float] = ...) -> None: ...

class CategoricalColumn(_message.Message):
    __slots__ = ("members", "levels", "frequencies", "name")
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    FREQUENCIES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[_model_service_pb2.Member]
    levels: _tensor_pb2.Tensor
    frequencies: _containers.RepeatedScalarFieldContainer[float]
    name: str
    def __init__(self, members: _Optional[_Iterable[_Union[_model_service_pb2.Member, _Mapping]]] = ..., levels: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., frequencies: _Optional[_Iterable[float]] = ..., name: _Optional[str] = ...) -> None: ...

class QuartileTable(_message.Message):
    __slots__ = ("columns", "categorical")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    CATEGORICAL_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[QuartileColumn]
    categorical: _containers.RepeatedCompositeFieldContainer[CategoricalColumn]
    def __init__(self, columns: _Optional[_Iterable[_Union[QuartileColumn, _Mapping]]] = ..., categorical: _Optional[_Iterable[_Union[CategoricalColumn, _Mapping]]] = ...) -> None: ...

class GaussianTable(_message.Message):
    __slots__ = ("columns", "categorical")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    CATEGORICAL_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[GaussianColumn]
    categorical: _containers.RepeatedCompositeFieldContainer[CategoricalColumn]
    def __init__(self, columns: _Optional[_Iterable[_Union[GaussianColumn, _Mapping]]] = ..., categorical: _Optional[_Iterable[_Union[CategoricalColumn, _Mapping]]] = ...) -> None: ...

class Sampling(_message.Message):
    __slots__ = ("mask", "quartile", "gaussian")
    class Mask(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    MASK_FIELD_NUMBER: _ClassVar[int]
    QUARTILE_FIELD_NUMBER: _ClassVar[int]
    GAUSSIAN_FIELD_NUMBER: _ClassVar[int]
    mask: Sampling.Mask
    quartile: QuartileTable
    gaussian: GaussianTable
    def __init__(self, mask: _Optional[_Union[Sampling.Mask, _Mapping]] = ..., quartile: _Optional[_Union[QuartileTable, _Mapping]] = ..., gaussian: _Optional[_Union[GaussianTable, _Mapping]] = ...) -> None: ...

class Lime(_message.Message):
    __slots__ = ("num_samples", "features", "baseline", "kernel_width", "surrogate", "alpha", "sampling", "samples", "until_error", "bootstrap")
    NUM_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    KERNEL_WIDTH_FIELD_NUMBER: _ClassVar[int]
    SURROGATE_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    UNTIL_ERROR_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_FIELD_NUMBER: _ClassVar[int]
    num_samples: int
    features: Features
    baseline: _containers.RepeatedCompositeFieldContainer[_model_service_pb2.Baseline]
    kernel_width: float
    surrogate: Surrogate
    alpha: float
    sampling: Sampling
    samples: _containers.RepeatedCompositeFieldContainer[InputTensor]
    until_error: float
    bootstrap: int
    def __init__(self, num_samples: _Optional[int] = ..., features: _Optional[_Union[Features, _Mapping]] = ..., baseline: _Optional[_Iterable[_Union[_model_service_pb2.Baseline, _Mapping]]] = ..., kernel_width: _Optional[float] = ..., surrogate: _Optional[_Union[Surrogate, str]] = ..., alpha: _Optional[float] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., samples: _Optional[_Iterable[_Union[InputTensor, _Mapping]]] = ..., until_error: _Optional[float] = ..., bootstrap: _Optional[int] = ...) -> None: ...

class Bounds(_message.Message):
    __slots__ = ("input", "lower", "upper")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    input: str
    lower: _tensor_pb2.Tensor
    upper: _tensor_pb2.Tensor
    def __init__(self, input: _Optional[str] = ..., lower: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., upper: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class Jacobian(_message.Message):
    __slots__ = ("scheme", "step", "rel_step", "scale", "outputs", "features", "bounds", "error_estimate")
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REL_STEP_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    scheme: DifferenceScheme
    step: _containers.RepeatedCompositeFieldContainer[InputDouble]
    rel_step: _containers.RepeatedCompositeFieldContainer[InputDouble]
    scale: _containers.RepeatedCompositeFieldContainer[InputTensor]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    features: Features
    bounds: _containers.RepeatedCompositeFieldContainer[Bounds]
    error_estimate: bool
    def __init__(self, scheme: _Optional[_Union[DifferenceScheme, str]] = ..., step: _Optional[_Iterable[_Union[InputDouble, _Mapping]]] = ..., rel_step: _Optional[_Iterable[_Union[InputDouble, _Mapping]]] = ..., scale: _Optional[_Iterable[_Union[InputTensor, _Mapping]]] = ..., outputs: _Optional[_Iterable[str]] = ..., features: _Optional[_Union[Features, _Mapping]] = ..., bounds: _Optional[_Iterable[_Union[Bounds, _Mapping]]] = ..., error_estimate: bool = ...) -> None: ...

class Rows(_message.Message):
    __slots__ = ("keep", "features", "baseline")
    KEEP_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    keep: _tensor_pb2.Tensor
    features: Features
    baseline: _containers.RepeatedCompositeFieldContainer[_model_service_pb2.Baseline]
    def __init__(self, keep: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., features: _Optional[_Union[Features, _Mapping]] = ..., baseline: _Optional[_Iterable[_Union[_model_service_pb2.Baseline, _Mapping]]] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("rows", "time", "on_exhausted")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ON_EXHAUSTED_FIELD_NUMBER: _ClassVar[int]
    rows: int
    time: _duration_pb2.Duration
    on_exhausted: OnBudget
    def __init__(self, rows: _Optional[int] = ..., time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., on_exhausted: _Optional[_Union[OnBudget, str]] = ...) -> None: ...

class InputLayout(_message.Message):
    __slots__ = ("input", "layout")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    input: str
    layout: _model_service_pb2.Layout
    def __init__(self, input: _Optional[str] = ..., layout: _Optional[_Union[_model_service_pb2.Layout, str]] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: WarningCode
    message: str
    def __init__(self, code: _Optional[_Union[WarningCode, str]] = ..., message: _Optional[str] = ...) -> None: ...

class WindowGrid(_message.Message):
    __slots__ = ("input", "first_feature", "grid", "axes", "window", "stride")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    FIRST_FEATURE_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    input: str
    first_feature: int
    grid: _containers.RepeatedScalarFieldContainer[int]
    axes: _containers.RepeatedScalarFieldContainer[int]
    window: _containers.RepeatedScalarFieldContainer[int]
    stride: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, input: _Optional[str] = ..., first_feature: _Optional[int] = ..., grid: _Optional[_Iterable[int]] = ..., axes: _Optional[_Iterable[int]] = ..., window: _Optional[_Iterable[int]] = ..., stride: _Optional[_Iterable[int]] = ...) -> None: ...

class JacobianBlock(_message.Message):
    __slots__ = ("output", "input", "values", "errors")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    output: str
    input: str
    values: _tensor_pb2.Tensor
    errors: _tensor_pb2.Tensor
    def __init__(self, output: _Optional[str] = ..., input: _Optional[str] = ..., values: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., errors: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class RowScores(_message.Message):
    __slots__ = ("keep", "scores", "samples", "features", "steps")
    class SamplesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _tensor_pb2.Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...
    KEEP_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    keep: _tensor_pb2.Tensor
    scores: _tensor_pb2.Tensor
    samples: _containers.MessageMap[str, _tensor_pb2.Tensor]
    features: _tensor_pb2.Tensor
    steps: _tensor_pb2.Tensor
    def __init__(self, keep: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., scores: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., samples: _Optional[_Mapping[str, _tensor_pb2.Tensor]] = ..., features: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., steps: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class Diagnostics(_message.Message):
    __slots__ = ("alone_difference", "intercept", "r_squared", "rows_asked", "rows_run")
    ALONE_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    INTERCEPT_FIELD_NUMBER: _ClassVar[int]
    R_SQUARED_FIELD_NUMBER: _ClassVar[int]
    ROWS_ASKED_FIELD_NUMBER: _ClassVar[int]
    ROWS_RUN_FIELD_NUMBER: _ClassVar[int]
    alone_difference: float
    intercept: _tensor_pb2.Tensor
    r_squared: _tensor_pb2.Tensor
    rows_asked: int
    rows_run: int
    def __init__(self, alone_difference: _Optional[float] = ..., intercept: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., r_squared: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., rows_asked: _Optional[int] = ..., rows_run: _Optional[int] = ...) -> None: ...

class InstanceResult(_message.Message):
    __slots__ = ("key", "position", "status", "targets", "scores", "baseline_scores", "feature_values", "feature_errors", "features", "windows", "maps", "map_errors", "jacobian", "rows", "diagnostics", "warnings", "completion", "record", "errors_unknown")
    class MapsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _tensor_pb2.Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...
    class MapErrorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _tensor_pb2.Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    BASELINE_SCORES_FIELD_NUMBER: _ClassVar[int]
    FEATURE_VALUES_FIELD_NUMBER: _ClassVar[int]
    FEATURE_ERRORS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    MAP_ERRORS_FIELD_NUMBER: _ClassVar[int]
    JACOBIAN_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DIAGNOSTICS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    ERRORS_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    key: str
    position: int
    status: _status_pb2.Status
    targets: _containers.RepeatedCompositeFieldContainer[ResolvedTarget]
    scores: _tensor_pb2.Tensor
    baseline_scores: _tensor_pb2.Tensor
    feature_values: _tensor_pb2.Tensor
    feature_errors: _tensor_pb2.Tensor
    features: _containers.RepeatedCompositeFieldContainer[FeatureInfo]
    windows: _containers.RepeatedCompositeFieldContainer[WindowGrid]
    maps: _containers.MessageMap[str, _tensor_pb2.Tensor]
    map_errors: _containers.MessageMap[str, _tensor_pb2.Tensor]
    jacobian: _containers.RepeatedCompositeFieldContainer[JacobianBlock]
    rows: RowScores
    diagnostics: Diagnostics
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    completion: Completion
    record: _record_pb2.Record
    errors_unknown: bool
    def __init__(self, key: _Optional[str] = ..., position: _Optional[int] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., targets: _Optional[_Iterable[_Union[ResolvedTarget, _Mapping]]] = ..., scores: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., baseline_scores: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., feature_values: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., feature_errors: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., features: _Optional[_Iterable[_Union[FeatureInfo, _Mapping]]] = ..., windows: _Optional[_Iterable[_Union[WindowGrid, _Mapping]]] = ..., maps: _Optional[_Mapping[str, _tensor_pb2.Tensor]] = ..., map_errors: _Optional[_Mapping[str, _tensor_pb2.Tensor]] = ..., jacobian: _Optional[_Iterable[_Union[JacobianBlock, _Mapping]]] = ..., rows: _Optional[_Union[RowScores, _Mapping]] = ..., diagnostics: _Optional[_Union[Diagnostics, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ..., completion: _Optional[_Union[Completion, str]] = ..., record: _Optional[_Union[_record_pb2.Record, _Mapping]] = ..., errors_unknown: bool = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("rows_asked", "rows_run", "batches", "shared_batches", "plan_seconds", "queue_seconds", "compute_seconds", "reduce_seconds")
    ROWS_ASKED_FIELD_NUMBER: _ClassVar[int]
    ROWS_RUN_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    SHARED_BATCHES_FIELD_NUMBER: _ClassVar[int]
    PLAN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REDUCE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    rows_asked: int
    rows_run: int
    batches: int
    shared_batches: int
    plan_seconds: float
    queue_seconds: float
    compute_seconds: float
    reduce_seconds: float
    def __init__(self, rows_asked: _Optional[int] = ..., rows_run: _Optional[int] = ..., batches: _Optional[int] = ..., shared_batches: _Optional[int] = ..., plan_seconds: _Optional[float] = ..., queue_seconds: _Optional[float] = ..., compute_seconds: _Optional[float] = ..., reduce_seconds: _Optional[float] = ...) -> None: ...
