"""Predictions from saved models: ONNX files and managed endpoints; and the content types of blobs."""
