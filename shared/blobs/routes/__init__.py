"""The edge of the blob functions: their fields, their answers, and one short function a route."""
