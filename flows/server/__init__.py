"""The local Prefect server, worker, work pool and deployments: up, down, status."""
