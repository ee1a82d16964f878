"""Export of trained models: file formats, the exporter and quantization."""
