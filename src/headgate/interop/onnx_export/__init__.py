"""Networks and fitted estimators as ONNX files."""
