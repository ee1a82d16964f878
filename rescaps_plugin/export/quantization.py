"""Quantization of exported files to int8."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor


class _CalibrationBatches:
    """Batches as ONNX Runtime's calibration asks for them."""

    def __init__(self, name: str, batches: Iterable[Tensor]) -> None:
        self.feeds = ({name: batch.cpu().numpy()} for batch in batches)

    def get_next(self) -> dict | None:
        return next(self.feeds, None)


def quantize(source: Path, target: Path, batches: Iterable[Tensor]) -> None:
    """Quantise an ONNX file to int8 with ONNX Runtime: static, in QDQ form, with a scale for each output channel.

    Activations are uint8, in the range that calibration sees. Weights use 7 of their 8 bits: processors without VNNI
    add products in 16 bits, which 8-bit weights overflow, and the file is to be right on any.

    Args:
        source: The file in fp32.
        target: The file to write, with the same metadata.
        batches: Inputs to calibrate with, of a size that ``source`` takes.
    """
    import onnx_ir
    from onnx_ir.passes.common import RemoveUnusedOpsetsPass
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    original = onnx_ir.load(source)
    with TemporaryDirectory() as folder:
        prepared = Path(folder, 'prepared.onnx')
        # PyTorch has noted all shapes; ONNX Runtime's symbolic inference fails on some of them.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _CalibrationBatches(original.graph.inputs[0].name, batches),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
    quantized = onnx_ir.load(target)
    # ONNX Runtime declares all operator sets that it knows, its own among them, and drops the metadata.
    RemoveUnusedOpsetsPass()(quantized)
    quantized.metadata_props.update(original.metadata_props)
    onnx_ir.save(quantized, target)
