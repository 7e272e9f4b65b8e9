"""Backend `kuberay`: one RayJob resource a job."""
