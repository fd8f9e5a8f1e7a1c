"""What the manifests scale by is what the server says of itself."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

K8S = Path(__file__).parents[3] / "k8s" / "serving"


def test_autoscalers_ask_for_metrics_that_the_server_has():
    code = (
        "from trainers.serving.server.observe.metrics import Metrics\n"
        "metrics = Metrics()\n"
        "metrics.count('m', 'OK', 1), metrics.observe_latency('m', 0.1), metrics.observe_batch(3, 5)\n"
        "print(metrics.text()[0].decode())"
    )
    # In a process of its own: Prometheus' registry is one for the process.
    text = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    there = set(re.findall(r"^(\w+)", text, re.M))
    assert "fullpass_serving_queued_rows 5.0" in text
    (scaler,) = yaml.safe_load_all((K8S / "queue" / "scaling.yaml").read_text())
    asked = [each["pods"]["metric"]["name"] for each in scaler["spec"]["metrics"] if each["type"] == "Pods"]
    said = [name for path in K8S.rglob("*.yaml") for name in re.findall(r"fullpass_serving_\w+", path.read_text())]
    assert asked == ["fullpass_serving_queued_rows"] and set(asked + said) <= there
