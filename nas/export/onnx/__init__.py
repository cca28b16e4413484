"""ONNX files, in float and in 8 bits. Needs the extra: pip install 'nas-budget[onnx]'."""
