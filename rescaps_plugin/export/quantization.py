"""Quantization of exported files to int8."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

# Training samples that activation ranges are calibrated on.
CALIBRATION_SAMPLES = 512


class _CalibrationBatches:
    """Calibration data reader of ONNX Runtime."""

    def __init__(self, name: str, batches: Iterable[Tensor]) -> None:
        self.feeds = ({name: batch.cpu().numpy()} for batch in batches)

    def get_next(self) -> dict | None:
        return next(self.feeds, None)


def quantize(source: Path, target: Path, batches: Iterable[Tensor]) -> None:
    """Quantise an ONNX file to int8 with ONNX Runtime: static quantization in QDQ format, with per-channel scales.

    Activations are uint8, in the range found by calibration. Weights use 7 of their 8 bits: processors without VNNI add
    products in 16 bits, which overflow with 8-bit weights, and the file must be correct on any processor.

    Args:
        source: The fp32 file.
        target: The file to write, with the same metadata.
        batches: Inputs for calibration, with a batch size that ``source`` takes.
    """
    import onnx_ir
    from onnx_ir.passes.common import RemoveUnusedOpsetsPass
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    original = onnx_ir.load(source)
    with TemporaryDirectory() as folder:
        prepared = Path(folder, 'prepared.onnx')
        # The file has all shapes already, and ONNX Runtime's symbolic inference fails on some models.
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
    # ONNX Runtime declares all operator sets that it supports, including its own, and drops the metadata.
    RemoveUnusedOpsetsPass()(quantized)
    quantized.metadata_props.update(original.metadata_props)
    onnx_ir.save(quantized, target)
