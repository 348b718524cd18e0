"""Time of `import segkit`, and from `python tools/train.py` to the first logged step, beside torch + timm + cv2 alone.

Run by hand: python benchmarks/startup.py
"""

import subprocess
import sys
import tempfile
import time


def seconds(*words: str, until: str | None = None, rounds: int = 3) -> float:
    """Best of several runs; until: a text at the start of a line of output that ends the clock."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in process.stdout:
            if until is not None and line.startswith(until):
                break
        if until is None:
            process.wait()
        best = min(best, time.perf_counter() - start)
        process.kill()
        process.wait()
    return best


def main() -> None:
    python = sys.executable
    bare = seconds(python, "-c", "pass")
    print(f"python -c pass                    {bare:.3f} s")
    print(f"import segkit, beyond that        {seconds(python, '-c', 'import segkit') - bare:.3f} s")
    heavy = seconds(python, "-c", "import torch, timm, cv2")
    print(f"import torch, timm, cv2           {heavy:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        words = (python, "tools/train.py", "configs/quickstart/semantic.py", "--work-dir", folder)
        first = seconds(*words, until="step 1/")
    print(f"tools/train.py to the first step  {first:.2f} s, {first / heavy:.2f} of the imports")


if __name__ == "__main__":
    main()
