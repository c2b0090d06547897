"""ONNX files of recurrent models as networks."""
