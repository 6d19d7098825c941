import json
import subprocess
import sys


def test_numpy_and_scipy_compute_with_as_many_threads_as_torch():
    """Unlimited, the FIDs of two workers on two cores take three times as long."""
    code = (
        "import json, torch, scipy.linalg, ablate.core.hardware as m; from threadpoolctl import threadpool_info; "
        "m.use(1);"
        "print(json.dumps([torch.get_num_threads(), *(pool['num_threads'] for pool in threadpool_info())]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    counts = json.loads(out)
    assert len(counts) > 2
    assert set(counts) == {1}
