import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in a worker, before torch is imported
