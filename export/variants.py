"""The variants that an export makes: one table."""

from dataclasses import dataclass

TFLITE, COREML = "tflite", "coreml"
TFLITE_FP16, TFLITE_HALF, TFLITE_DYNAMIC = "tflite-fp16", "tflite-half", "tflite-dynamic"
TFLITE_INT8, COREML_INT8 = "tflite-int8", "coreml-w8a8"
"""The variant of each platform whose activations are int8."""
ASSIGNED = (TFLITE_FP16, TFLITE_INT8)
"""The variants whose blocks have precisions of their own, which a search finds and a file keeps."""
SUFFIXES = {TFLITE: ".tflite", COREML: ".mlpackage"}


@dataclass(frozen=True)
class VariantSpec:
    """One precision of one platform.

    ``minimum`` is the least system that runs it. ``tolerance`` is the largest difference of the pipeline's
    rating that it is allowed, in points of 100, unless a gate of the pipeline says otherwise. ``bits`` is the
    width of a palette's indices; variants with it are tried from the mildest on, and packed while they pass.
    """

    name: str
    minimum: str
    tolerance: float
    bits: int | None = None

    @property
    def platform(self) -> str:
        """The first part of the name."""
        return self.name.partition("-")[0]

    @property
    def precision(self) -> str:
        """The second part of the name."""
        return self.name.partition("-")[2]

    @property
    def suffix(self) -> str:
        """The ending of its models' files."""
        return SUFFIXES[self.platform]


VARIANTS: tuple[VariantSpec, ...] = (
    VariantSpec("tflite-fp32", "LiteRT 2.1", 0.01),
    VariantSpec(TFLITE_FP16, "LiteRT 2.1", 0.1),
    # float16 weights, and arithmetic in half floats where XNNPACK has kernels for it.
    VariantSpec(TFLITE_HALF, "LiteRT 2.1", 0.1),
    # int8 weights; float activations, of which kernels make eight bits as they run.
    VariantSpec(TFLITE_DYNAMIC, "LiteRT 2.1", 1.0),
    VariantSpec(TFLITE_INT8, "LiteRT 2.1", 1.0),
    VariantSpec("coreml-fp32", "iOS16", 0.01),
    VariantSpec("coreml-fp16", "iOS16", 0.1),
    VariantSpec("coreml-int8w", "iOS16", 0.5),
    # The first system whose ML Programs have int8 activations.
    VariantSpec(COREML_INT8, "iOS17", 1.0),
    VariantSpec("coreml-pal6", "iOS16", 0.5, bits=6),
    VariantSpec("coreml-pal4", "iOS16", 0.5, bits=4),
)
"""In the order in which they are made and packed."""
NAMES = tuple(variant.name for variant in VARIANTS)


def variant_named(name: str) -> VariantSpec:
    """Find a variant; KeyError if the table has none of the name."""
    return {variant.name: variant for variant in VARIANTS}[name]
