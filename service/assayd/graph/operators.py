"""The operators that a model may use, and how their nodes must look."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from onnx import AttributeProto, NodeProto, defs

from assayd.errors import InvalidModel
from assayd.graph.mixing import called
from assayd.graph.payload import shown

_STANDARD, _ML, _CONTRIB = "", "ai.onnx.ml", "com.microsoft"
_RESERVED = ("ai.onnx", "com.microsoft", "com.ms")
"""Domains of the standard and of onnxruntime: no function of a model can lend their names to an operator."""

_OF_ONNXRUNTIME = frozenset({
    "Affine", "Crop", "DynamicSlice", "GivenTensorFill", "GRUUnit", "ImageScaler", "ParametricSoftplus", "Scale",
    "ScaledTanh", "SimplifiedLayerNormalization",
})  # fmt: skip
"""In the standard's domain, but known to onnxruntime alone: experiments of old files, and what its optimizer writes."""

# What onnxruntime documents as contributed, but EPContext and Snpe, which hand a blob or a path to a driver.
_CONTRIBUTED = frozenset("""
    Attention AttnLSTM BeamSearch BiasAdd BiasDropout BiasGelu BiasSoftmax BiasSplitGelu BifurcationDetector
    BitmaskBiasDropout BitmaskDropout BranchwiseRMSNorm CDist CausalConvWithState ComplexMul ComplexMulConj
    ConvTransposeWithDynamicPads CropAndResize DecoderAttention DecoderMaskedMultiHeadAttention
    DecoderMaskedSelfAttention DequantizeBFP DequantizeLinear DequantizeWithOrder DynamicQuantizeLSTM
    DynamicQuantizeMatMul DynamicSparseAttention DynamicTimeWarping EmbedLayerNormalization EngramGate ExpandDims
    FastGelu FusedConv FusedGemm FusedMatMul FusedMatMulActivation GatedAdd GatedDeltaNet GatedRMSNorm
    GatedRelativePositionBias GatherBlockQuantized GatherND Gelu GemmFastGelu GemmFloat8 GemmaRotaryEmbedding
    GreedySearch GridSample GroupNorm GroupQueryAttention HyperConnectionPostMix HyperConnectionPreMix Inverse Irfft
    IsAllFinite LinearAttention LinearAttentionGate LongformerAttention MRotaryEmbedding
    MatMulBlockQuantizedFp4Weight MatMulBlockQuantizedFp8Weight MatMulBnb4 MatMulFpQ4 MatMulInteger16
    MatMulIntegerToFloat MatMulNBits MatMulNBitsMlp MatMulNBitsQkv MaxpoolWithMask MoE MulInteger MultiHeadAttention
    MurmurHash3 NGramHashMapping NGramRepeatBlock NhwcConv NhwcFusedConv NhwcMaxPool PackedAttention
    PackedMultiHeadAttention PackedSparseAttentionIndexer Pad PagedAttention QAttention QEmbedLayerNormalization
    QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu
    QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere QMoE QOrderedAttention QOrderedGelu
    QOrderedLayerNormalization QOrderedLongformerAttention QOrderedMatMul QuantizeBFP QuantizeLinear
    QuantizeWithOrder QuickGelu Range ReduceSumInteger RelativePositionBias RemovePadding RestorePadding Rfft
    RotaryEmbedding SampleOp Sampling ScaledSiLU SkipGroupNorm SkipLayerNormalization
    SkipSimplifiedLayerNormalization SparseAttention SparseAttentionIndexer SparsePagedAttention SparseToDenseMatMul
    Tokenizer TorchEmbedding TransposeMatMul Trilu UnfoldTensor Unique VarlenCausalConvWithState
    VarlenNGramHashMapping WhisperBeamSearch WordConvEmbedding
""".split())  # fmt: skip  # noqa: SIM905 - a hundred and thirty quoted names would be a page


def domain_of(domain: str) -> str:
    """The standard's domain has two spellings."""
    return "" if domain == "ai.onnx" else domain


def check_operator(node: NodeProto, opsets: Mapping[str, int], own: bool) -> None:
    """InvalidModel where the operator isn't allowed, or the node can't be one of it.

    opsets: versions by domain, as `domain_of` spells them. own: the model has a function of this name.
    """
    domain = domain_of(node.domain)
    reserved = not domain or any(domain == name or domain.startswith(f"{name}.") for name in _RESERVED)
    if not reserved and own:
        return
    if not _known(domain, node.op_type):
        about = f"of the domain {shown(domain)} " if domain else ""
        raise InvalidModel(
            f"{called(node)}: the operator {shown(node.op_type)} {about}isn't allowed here; models may use those of "
            "ai.onnx, ai.onnx.ml and onnxruntime's public com.microsoft, and functions of their own",
            field="chunk",
        )
    rule = _rule(domain, node.op_type, opsets.get(domain, 0))
    if rule is not None:
        rule.check(node)


@cache
def _known(domain: str, op: str) -> bool:
    if domain == _CONTRIB:
        return op in _CONTRIBUTED
    if domain not in (_STANDARD, _ML):
        return False
    return bool(defs.has(op, domain=domain)) or (domain == _STANDARD and op in _OF_ONNXRUNTIME)


class _Rule:
    """What the standard says of an operator's nodes, in one version of it."""

    def __init__(self, schema: defs.OpSchema) -> None:
        self._inputs = schema.min_input, schema.max_input
        self._outputs = schema.min_output, schema.max_output
        types: Mapping[str, Any] = schema.attributes  # its stubs lack the value of a type
        self._types = {name: int(held.type.value) for name, held in types.items()}

    def check(self, node: NodeProto) -> None:
        """InvalidModel where the node has too few or too many ends, or an attribute of another type."""
        for what, count, (least, most) in (
            ("inputs", len(node.input), self._inputs),
            ("outputs", len(node.output), self._outputs),
        ):
            if not least <= count <= most:
                wanted = f"{least} or more" if most > count else f"{most} at most"
                raise InvalidModel(f"{called(node)} has {count} {what}; the operator takes {wanted}", field="chunk")
        for held in node.attribute:
            wanted_type = self._types.get(held.name, held.type)
            # Files before IR 4 leave the type out.
            if held.type not in (wanted_type, AttributeProto.UNDEFINED):
                raise InvalidModel(
                    f"{called(node)} has an attribute {shown(held.name)} of type {_type_name(held.type)}; the operator "
                    f"takes {_type_name(wanted_type)}",
                    field="chunk",
                )


def _type_name(number: int) -> str:
    known = AttributeProto.AttributeType.DESCRIPTOR.values_by_number.get(number)
    return known.name if known else str(number)


@cache
def _newest() -> Mapping[str, int]:
    """The newest versions that onnx knows; of later ones nothing can be said."""
    found = {_STANDARD: 0, _ML: 0}
    for schema in defs.get_all_schemas():
        if schema.domain in found:
            found[schema.domain] = max(found[schema.domain], schema.since_version)
    found[_STANDARD] = max(found[_STANDARD], defs.onnx_opset_version())
    return found


@cache
def _rule(domain: str, op: str, version: int) -> _Rule | None:
    if not 0 < version <= _newest().get(domain, 0) or not defs.has(op, version, domain):
        return None
    return _Rule(defs.get_schema(op, version, domain))
