"""Where curves, settings, lineage and the report go to be looked at: TensorBoard, W&B, MLflow, trackio, one's own."""
