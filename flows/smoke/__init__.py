"""The smoke test of an installation, `infra/smoke`: checks each link from storage to a finished flow run."""
