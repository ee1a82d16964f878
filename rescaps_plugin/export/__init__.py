"""Export of trained models: file formats, exporter and quantization."""
