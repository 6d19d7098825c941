"""MLflow: mirror.py writes cells while they run, retrieval.py reads them back. Only this folder imports mlflow."""
