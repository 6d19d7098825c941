"""MLflow: cells mirrored while they run, fetched from elsewhere. Only this folder imports mlflow."""
