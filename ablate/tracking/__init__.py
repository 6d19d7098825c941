"""MLflow: cells mirrored while they run, fetched from elsewhere. The only room that imports mlflow."""
